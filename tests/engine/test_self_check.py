"""An unknown model proves itself on its first call under each conditioning, or runs uncached."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from ecad_search.architectures import detect
from ecad_search.core.architecture import Dimensions
from ecad_search.core.schedule import Schedule
from ecad_search.engine.run import Run
from ecad_search.engine.self_check import call_model, copied
from ecad_search.engine.shims import shimmed

SIGMAS = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]
WIDTH, TOKENS = 8, 5


class Counted(nn.Sequential):
    """Says how often it computed, by a name that counts as somebody else's."""

    def __init__(self, *layers):
        super().__init__(*layers)
        self._calls = 0

    @property
    def calls(self):
        return self._calls

    def forward(self, x):
        self._calls += 1
        return super().forward(x)


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = Counted(nn.Linear(WIDTH, WIDTH))
        self.mlp = Counted(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x, t):
        x = x + t * self.attn(x)
        return x + t * self.mlp(x)


class ReadsItsMlpTwice(Block):
    def forward(self, x, t):
        return super().forward(x, t) + self.mlp(x)


class CountsItsCalls(Block):
    """State in the block: every call adds a little more."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def forward(self, x, t):
        self.seen += 1
        return super().forward(x, t) + self.seen


class Noisy(Block):
    def forward(self, x, t):
        return super().forward(x, t) + torch.rand_like(x)


class WritesOnItsInput(Block):
    def __init__(self):
        super().__init__()

        class InPlace(Counted):
            def forward(self, x):
                return super().forward(x.mul_(0.5))

        self.mlp = InPlace(nn.Linear(WIDTH, WIDTH))


class LooksInside(Block):
    """The output is no tensor alone, and the block needs what the module has left behind."""

    def __init__(self):
        super().__init__()

        class Leaves(Counted):
            def forward(self, x):
                self.last = super().forward(x)
                return self.last * 1

        self.mlp = Leaves(nn.Linear(WIDTH, WIDTH))

    def forward(self, x, t):
        x = x + t * self.attn(x)
        self.mlp(x)
        value, self.mlp.last = self.mlp.last, None
        return x + value


class NeedsTheSameObject(Block):
    """The component leaves a mark on its output, which a copy has not."""

    def __init__(self):
        super().__init__()

        class Marks(Counted):
            def forward(self, x):
                y = super().forward(x)
                y.mark = 1.0  # pyright: ignore[reportAttributeAccessIssue]
                return y

        self.mlp = Marks(nn.Linear(WIDTH, WIDTH))

    def forward(self, x, t):
        x = x + t * self.attn(x)
        y = self.mlp(x)
        return x + y * getattr(y, "mark", None)


class Transformer(nn.Module):
    def __init__(self, block, count=3):
        super().__init__()
        torch.manual_seed(1)
        self.blocks = nn.ModuleList([block() for _ in range(count)])
        self.requires_grad_(False)

    def forward(self, x, t, options=None):
        for block in self.blocks:
            x = block(x, t)
        return x


class Host:
    """Samples: every step one call for each batch of streams, with an input of its own."""

    def __init__(self, model, rows=None, **options):
        self.model = model
        architecture = detect(model)
        assert architecture is not None
        if rows is None:  # every second step reuses everything
            rows = np.ones((6, architecture.n_cells), dtype=bool)
            rows[1::2] = False
        self.architecture = architecture
        self.run = Run(
            Schedule(architecture, rows, name="by hand"),
            architecture,
            sigmas=SIGMAS,
            itemsize=4,
            one_evaluation_per_step=True,
            **options,
        )

    def sample(self, calls=("c",), options=None, interrupts=()):
        outputs = []
        with shimmed(self.run, self.model):
            for step, sigma in enumerate(SIGMAS[:-1]):
                with self.run.evaluation(sigma):
                    for streams in calls:
                        x = inputs(step, streams)
                        sizes = Dimensions(WIDTH, len(x), TOKENS, 0)
                        with self.run.model_call(streams, sizes) as call:
                            outputs.append(
                                call_model(
                                    self.model,
                                    (x, 0.1 * sigma),
                                    {"options": options},
                                    call,
                                    sizes,
                                    interrupts=interrupts,
                                )
                            )
        return outputs

    @property
    def report(self):
        return self.run.report(1.0, finished=True)


def inputs(step, streams):
    rows = [
        torch.randn(1, TOKENS, WIDTH, generator=torch.Generator().manual_seed(100 * step + ord(s)))
        for s in streams
    ]
    return torch.cat(rows)


def plain(block, calls=("c",)):
    """The same sampling without any cache."""
    model = Transformer(block)
    return [
        model(inputs(step, streams), 0.1 * sigma)
        for step, sigma in enumerate(SIGMAS[:-1])
        for streams in calls
    ]


def by_hand(model, rows):
    """The same sampling with stored outputs put in by forward hooks, for one stream."""
    stored, outputs = {}, []
    cells = [module for block in model.blocks for module in (block.attn, block.mlp)]
    step_now = [0]

    def hook(cell):
        def exchange(module, args, output):
            if rows[step_now[0], cell]:
                stored[cell] = output.clone()
                return output
            return stored[cell].clone()

        return exchange

    handles = [m.register_forward_hook(hook(cell)) for cell, m in enumerate(cells)]
    for step, sigma in enumerate(SIGMAS[:-1]):
        step_now[0] = step
        outputs.append(model(inputs(step, "c"), 0.1 * sigma))
    for handle in handles:
        handle.remove()
    return outputs


def equal(expected, outputs):
    return len(expected) == len(outputs) and all(map(torch.equal, expected, outputs))


def calls_of(model):
    return [component.calls for b in model.blocks for component in (b.attn, b.mlp)]


@pytest.mark.parametrize("seed", range(4))
def test_a_proven_model_follows_the_schedule_from_the_second_step_on(seed):
    rows = np.random.default_rng(seed).random((6, 6)) < 0.5
    rows[0] = True
    host = Host(Transformer(Block), rows)
    outputs = host.sample()
    assert equal(by_hand(Transformer(Block), rows), outputs)
    in_the_second_call = rows.all(axis=0)  # what is never reused
    assert (rows.sum(axis=0) + in_the_second_call).tolist() == calls_of(host.model)
    assert ((), 0) == (host.report.messages, host.report.cells_forced)
    assert rows.sum() == host.report.cells_computed
    assert host.run.predicted_bytes() == host.report.peak_bytes > 0


def test_each_conditioning_is_proven_once_and_stored():
    host = Host(Transformer(Block))
    batched = host.sample(("uc",))
    assert [3] * 6 == calls_of(host.model)
    split = Host(Transformer(Block))
    both = split.sample(("u", "c"))
    assert [6] * 6 == calls_of(split.model)
    for step, output in enumerate(batched):
        # Close, for a processor may round a batch of two otherwise than each of them.
        torch.testing.assert_close(output, torch.cat(both[2 * step : 2 * step + 2]))
    assert 2 * host.report.cells_reused == split.report.cells_reused == 36


def test_the_order_of_a_batch_may_change():
    one, other = Host(Transformer(Block)), Host(Transformer(Block))
    calls = iter(("uc", "cu", "uc", "cu", "uc", "cu"))

    class Turning:
        def __iter__(self):
            return iter((next(calls),))

    expected = one.sample(("uc",))
    turned = other.sample(Turning())
    assert equal(expected, [y if i % 2 == 0 else y.flip(0) for i, y in enumerate(turned)])


def test_a_component_that_is_called_twice_always_computes():
    rows = np.ones((6, 6), dtype=bool)
    rows[1::2] = False
    host = Host(Transformer(ReadsItsMlpTwice), rows)
    outputs = host.sample()
    rows[:, 1::2] = True
    assert equal(by_hand(Transformer(ReadsItsMlpTwice), rows), outputs)
    assert [3, 2 * 6 + 2] * 3 == calls_of(host.model)
    (message,) = host.report.messages
    assert "3 of the 6 components" in message
    assert "blocks.0.mlp, is called several times" in message
    assert 9 == host.report.cells_reused


def test_a_component_that_keeps_something_always_computes():
    host = Host(Transformer(LooksInside))
    host.sample()
    (message,) = host.report.messages
    assert "3 of the 6" in message and "keeps something as an attribute" in message
    assert [3, 6 + 1] * 3 == calls_of(host.model)


def test_a_cache_that_components_fill_is_missed_in_the_second_call():
    class Filling(Counted):
        def forward(self, x, cache):
            value = super().forward(x)
            cache.append(value)
            return value

    class KeepsKeysAndValues(Transformer):
        def __init__(self, block):
            super().__init__(block)
            for block in self.blocks:
                block.mlp = Filling(nn.Linear(WIDTH, WIDTH))

        def forward(self, x, t, options=None):
            assert options is not None
            for block in self.blocks.children():
                attn, mlp = block.children()
                x = x + t * attn(x)
                x = x + t * mlp(x, options["caches"])
            return x

    options = {"caches": []}
    host = Host(KeepsKeysAndValues(Block))
    host.sample(options=options)
    assert 3 * 6 == len(options["caches"])
    (message,) = host.report.messages
    assert "write on what the model was given" in message and "uncached" in message
    assert 0 == host.report.cells_reused


@pytest.mark.parametrize(
    ("block", "reason"),
    [(WritesOnItsInput, "another result"), (NeedsTheSameObject, "ends with TypeError")],
)
def test_a_model_that_needs_more_than_the_outputs_runs_uncached(block, reason):
    host = Host(Transformer(block))
    assert equal(plain(block), host.sample())
    (message,) = host.report.messages
    assert reason in message and "uncached" in message
    assert (0, 0, 0) == (
        host.report.cells_reused,
        host.report.peak_bytes,
        host.report.cells_forced,
    )


def test_a_model_that_draws_random_numbers_runs_uncached_and_draws_the_same():
    host = Host(Transformer(Noisy))
    torch.manual_seed(3)
    outputs = host.sample()
    after = torch.get_rng_state()
    expected_model = Transformer(Noisy)
    torch.manual_seed(3)
    expected = [
        expected_model(inputs(step, "c"), 0.1 * sigma) for step, sigma in enumerate(SIGMAS[:-1])
    ]
    assert equal(expected, outputs)
    assert torch.equal(torch.get_rng_state(), after)
    (message,) = host.report.messages
    assert "random numbers" in message


def test_a_model_that_remembers_its_calls_runs_uncached():
    """The second call is one call more than it would have seen, which nothing can take back."""
    host = Host(Transformer(CountsItsCalls))
    outputs = host.sample()
    assert torch.equal(plain(CountsItsCalls)[0], outputs[0])
    (message,) = host.report.messages
    assert "another result" in message
    assert 0 == host.report.cells_reused


def test_what_a_model_is_given_is_not_used_up_by_the_second_call():
    class TakesFromAList(Transformer):
        def forward(self, x, t, options=None):
            assert options is not None
            options["left"].pop()
            return super().forward(x, t) + options["left"].pop().mul_(2.0)

    options = {"left": [torch.ones(1, TOKENS, WIDTH) for _ in range(12)]}
    host = Host(TakesFromAList(Block))
    host.sample(options=options)
    assert [] == options["left"]
    assert () == host.report.messages
    assert 18 == host.report.cells_reused


def test_an_output_without_the_batch_s_rows_always_computes():
    class Transposed(Block):
        """Tokens first: rows of a batch could not be told from tokens."""

        def forward(self, x, t):
            y = x.transpose(0, 1)
            return x + t * self.attn(y).transpose(0, 1) + self.mlp(x)

    host = Host(Transformer(Transposed))
    host.sample(("uc",))
    (message,) = host.report.messages
    assert "3 of the 6" in message and "one row for each picture" in message
    assert [6 + 1, 3] * 3 == calls_of(host.model)


def test_tuples_of_tensors_are_reused_as_tuples():
    class Pair(Counted):
        def forward(self, x):
            y = super().forward(x)
            return y, y[:, :2] * 2

    class WithPairs(Block):
        def __init__(self):
            super().__init__()
            self.attn = Pair(nn.Linear(WIDTH, WIDTH))

        def forward(self, x, t):
            image, text = self.attn(x)
            x = x + t * image
            x[:, :2] += text
            return x + t * self.mlp(x)

    host = Host(Transformer(WithPairs))
    outputs = host.sample()
    assert [3] * 6 == calls_of(host.model)
    assert () == host.report.messages
    assert not equal(plain(WithPairs), outputs)


def test_a_tuple_with_something_left_out_is_reused_as_such():
    class Half(Counted):
        def forward(self, x):
            return super().forward(x), None

    class WithHalves(Block):
        def __init__(self):
            super().__init__()
            self.mlp = Half(nn.Linear(WIDTH, WIDTH))

        def forward(self, x, t):
            x = x + t * self.attn(x)
            image, text = self.mlp(x)
            assert text is None
            return x + t * image

    host = Host(Transformer(WithHalves))
    host.sample()
    assert [3] * 6 == calls_of(host.model)
    assert ((), 18) == (host.report.messages, host.report.cells_reused)
    assert host.report.predicted_bytes == host.report.peak_bytes > 0


def test_an_output_of_another_form_than_the_proven_one_is_given_but_not_stored():
    class Moody(Counted):
        def forward(self, x):
            y = super().forward(x)
            return (y, None) if self.calls == 1 else y

    class WithMoods(Block):
        def __init__(self):
            super().__init__()
            self.mlp = Moody(nn.Linear(WIDTH, WIDTH))

        def forward(self, x, t):
            x = x + t * self.attn(x)
            value = self.mlp(x)
            return x + t * (value[0] if isinstance(value, tuple) else value)

    host = Host(Transformer(WithMoods, 2))
    host.sample()
    # Steps 0, 2 and 4 compute; what step 2 gives is not stored, so steps 3 and 5 compute as well.
    assert [3, 5] * 2 == calls_of(host.model)
    assert 4 == host.report.cells_forced


def test_an_interrupt_in_the_second_call_is_not_swallowed():
    class Stop(Exception):
        pass

    class Interrupted(Transformer):
        calls = 0

        def forward(self, x, t, options=None):
            self.calls += 1
            if self.calls == 2:
                raise Stop
            return super().forward(x, t)

    host = Host(Interrupted(Block))
    with pytest.raises(Stop):
        host.sample(interrupts=(Stop,))
    assert 0 == host.run.store.bytes
    uncached = Host(Interrupted(Block))
    uncached.sample()
    assert "ends with Stop" in uncached.report.messages[0]


def test_a_schedule_that_reuses_nothing_needs_no_check():
    host = Host(Transformer(Block), np.ones((6, 6), dtype=bool))
    assert equal(plain(Block), host.sample())
    assert [6] * 6 == calls_of(host.model)


def test_copies_are_apart_and_keep_what_is_one():
    x, function = torch.ones(2), len
    given = {"a": [x, {"b": (x,)}], "f": function}
    made = copied(given)
    made["a"][0].zero_()
    made["a"][1]["c"] = 1
    assert made["a"][0] is made["a"][1]["b"][0]
    assert 2.0 == x.sum() and "c" not in given["a"][1]
    assert made["f"] is function
