"""Proof that an unknown model gives the same with its components' outputs put in from outside.

In a model known by structure only, nothing says that a module called `attn` is called once in a
model call, gives all that its block needs of it, and does nothing else. So the first call under
each conditioning of a run is made twice: once computing everything, while each component's output
is noted, and once with these outputs in the place of the components. Both have to give the same,
to the last bit, and to leave behind the same in what they were given (a cache of keys and values,
say). A component that is not called exactly once, gives something other than tensors with the
batch's rows, or keeps something as an attribute, always computes. Where the second call gives or
leaves anything else, fails, or the first one drew random numbers (so leaving out components would
change the sampler's noise), the run is uncached from there on, with one message.

The second call costs little: all that it computes is what is never reused. A model that keeps
something inside itself from call to call may notice it all the same; nothing can undo that from
outside.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..core.architecture import Dimensions
from .blocks import Block, Forward, Shim
from .compiled import python_only, uncompiled
from .leaf_shims import first_tensors, leaf_shim
from .liveness import StoredSizes
from .short_way import same_bits

if TYPE_CHECKING:
    from .run import Call, Run

ForwardPass = Callable[..., Any]


@dataclass(frozen=True)
class Form:
    """What a component gives: a tensor, or a tuple or list of tensors, some of them left out."""

    container: type | None
    present: tuple[bool, ...] = (True,)

    @classmethod
    def of(cls, output: Any) -> Form | None:
        """None for anything else."""
        container = type(output) if type(output) in (tuple, list) else None
        values = [output] if container is None else output
        present = tuple(value is not None for value in values)
        fit = all(value is None or _has_rows(value) for value in values)
        return cls(container, present) if fit and any(present) else None

    @property
    def parts(self) -> int:
        return sum(self.present)

    def tensors(self, output: Any) -> tuple[torch.Tensor, ...]:
        values = [output] if self.container is None else output
        return tuple(value for value in values if value is not None)

    def filled(self, tensors: Sequence[torch.Tensor]) -> Any:
        """An output made of these tensors."""
        left = iter(tensors)
        values = [next(left) if there else None for there in self.present]
        return values[0] if self.container is None else self.container(values)


def _has_rows(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.ndim > 0


@dataclass(frozen=True)
class OtherOutput:
    """Of another form than the one that was proven; it is not stored."""

    output: Any


class SelfCheck:
    """What one run has proven. Calls on several devices may be under way at the same time."""

    def __init__(self) -> None:
        self.forms: dict[int, Form] = {}  # of what the proven cells give
        self.sizes: dict[Dimensions, StoredSizes] = {}  # seen in such calls
        self.failed = False
        self._streams: set[Hashable] = set()
        self._told = False
        self._lock = threading.Lock()

    def needed(self, streams: Sequence[Hashable]) -> bool:
        return not self.failed and not self._streams.issuperset(streams)

    def passed(self, trial: Trial) -> None:
        """Store what the first call noted, as the run's schedule wants it."""
        run, call = trial.call.run, trial.call
        with self._lock:
            for cell, form in trial.forms.items():
                if self.forms.setdefault(cell, form) != form:
                    trial.unfit[cell] = "gives now one tensor, now several"
            for cell in trial.unfit:
                trial.values.pop(cell, None)
                self.forms.pop(cell, None)
            if trial.unfit:
                run.always_compute(trial.unfit)
                self._tell_of(trial)
            self._streams.update(call.streams)
            self.sizes[trial.dimensions] = trial.sizes()
        for cell in list(trial.values):
            run.containers[cell] = tuple
            for part, value in enumerate(trial.values.pop(cell)):
                call.store(cell, value, part)

    def fail(self, run: Run, reason: str) -> None:
        with self._lock:
            if self.failed:
                return
            self.failed = True
            self.forms.clear()
            run.always_compute(range(run.architecture.n_cells))
            run.messages.append(
                "This model is of no known family, and its components cannot be reused safely: "
                f"{reason}. So the run was uncached: right, but no faster."
            )

    def _tell_of(self, trial: Trial) -> None:
        if self._told:
            return
        self._told = True
        run = trial.call.run
        cell, reason = next(iter(sorted(trial.unfit.items())))
        run.messages.append(
            f"{len(trial.unfit)} of the {len(run.liveness.reused_cells) + len(trial.unfit)} "
            f"components that the schedule reuses always compute in this model "
            f"(the first of them, {run.architecture.cells[cell]}, {reason})."
        )


class Trial:
    """One model call made twice: first components compute and are noted, then they are replaced."""

    def __init__(self, call: Call, dimensions: Dimensions) -> None:
        self.call = call
        self.dimensions = dimensions
        self.cells = set(call.run.liveness.reused_cells)
        self.replacing = False
        self.values: dict[int, list[torch.Tensor]] = {}
        self.forms: dict[int, Form] = {}
        self.unfit: dict[int, str] = {}  # cell -> why its output cannot be reused
        self._computed: Counter[int] = Counter()
        self._replaced: Counter[int] = Counter()

    def note(
        self, cell: int, args: tuple, kwargs: dict, output: Any, keeps_something: bool
    ) -> None:
        self._computed[cell] += 1
        if self._computed[cell] > 1:
            self.values.pop(cell, None)
            self.forms.pop(cell, None)
            self.unfit[cell] = "is called several times in a model call"
            return
        if keeps_something:
            self.unfit[cell] = "keeps something as an attribute"
            return
        form = Form.of(output)
        tensors = () if form is None else form.tensors(output)
        if form is None or any(len(tensor) != self.dimensions.batch for tensor in tensors):
            self.unfit[cell] = "gives something else than tensors with one row for each picture"
            return
        inputs = first_tensors(args, kwargs, len(tensors))
        if not inputs:
            self.unfit[cell] = "is given no tokens"
            return
        self.call.offer(cell, inputs)
        self.forms[cell] = form
        self.values[cell] = [tensor.detach().clone() for tensor in tensors]

    def look_for_uncalled(self) -> None:
        for cell in self.cells:
            if not self._computed[cell]:
                self.unfit[cell] = "is not called"

    def sizes(self) -> StoredSizes:
        parts = [(cell, tensor) for cell, values in self.values.items() for tensor in values]
        streams = len(self.call.streams)
        return StoredSizes(
            tuple(cell for cell, _ in parts), tuple(tensor.nbytes // streams for _, tensor in parts)
        )

    def replacement(self, cell: int) -> Any:
        """What the component gave, which the caller may write on; None if it is to compute."""
        if cell not in self.values:
            return None
        self._replaced[cell] += 1
        return self.forms[cell].filled([value.clone() for value in self.values[cell]])

    @property
    def each_replaced_once(self) -> bool:
        return self._replaced == Counter(self.values.keys())


def call_model(
    model: ForwardPass,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    call: Call | None,
    dimensions: Dimensions,
    *,
    interrupts: tuple[type[BaseException], ...] = (),
) -> Any:
    """`model(*args, **kwargs)`, proven on the way where that is still needed.

    `call` is what `Run.model_call` gave for `dimensions`. `interrupts` are the exceptions by which
    the user stops a run; they are no sign of an unfit model.
    """
    check = None if call is None else call.run.self_check
    if call is None or check is None or not check.needed(call.streams):
        return model(*args, **kwargs)
    trial = Trial(call, dimensions)
    if not trial.cells:
        return model(*args, **kwargs)
    again_args, again_kwargs = copied((list(args), dict(kwargs)))
    random_before = random_states()
    call.trial = trial
    try:
        # Copied, for a model may give a tensor that it writes on when it is called again.
        output = copied(model(*args, **kwargs))
        random_after = random_states()
        trial.look_for_uncalled()
        if not same_bits(random_before, random_after):
            check.fail(call.run, "it draws random numbers while it computes")
        elif not trial.values:
            check.fail(call.run, "none of them is called exactly once in a model call")
        else:
            trial.replacing = True
            failure = failure_of(trial, model, again_args, again_kwargs, output, interrupts)
            restore(random_after)
            if not failure and not same_left((list(args), kwargs), (again_args, again_kwargs)):
                failure = "they write on what the model was given"
            if failure:
                check.fail(call.run, failure)
            else:
                check.passed(trial)
    finally:
        call.trial = None
    return output


def failure_of(
    trial: Trial,
    model: ForwardPass,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    expected: Any,
    interrupts: tuple[type[BaseException], ...],
) -> str:
    """What is wrong with the call whose components are replaced; nothing if it is right."""
    try:
        output = model(*args, **kwargs)
    except interrupts:
        raise
    except Exception as error:
        return f"with their outputs put in from outside it ends with {type(error).__name__}"
    if not trial.each_replaced_once:
        return "with their outputs put in from outside it calls them another number of times"
    if not same_bits(expected, output):
        return "with their outputs put in from outside it gives another result"
    return ""


def copied(value: Any, copies: dict[int, Any] | None = None) -> Any:
    """Tensors, and plain containers of them, apart from the originals; all else is the same."""
    copies = {} if copies is None else copies
    if id(value) in copies:
        return copies[id(value)]
    if isinstance(value, torch.Tensor):
        made = value.clone()
    elif type(value) is dict:
        made = copies[id(value)] = {}
        made.update((name, copied(inner, copies)) for name, inner in value.items())
    elif type(value) is list:
        made = copies[id(value)] = []
        made.extend(copied(inner, copies) for inner in value)
    elif type(value) is tuple:
        made = tuple(copied(inner, copies) for inner in value)
    else:
        return value
    copies[id(value)] = made
    return made


def same_left(first: Any, second: Any, met: set[tuple[int, int]] | None = None) -> bool:
    """Whether two calls left the same tensors in the plain containers that they were given."""
    met = set() if met is None else met
    if first is second or (id(first), id(second)) in met:
        return True
    met.add((id(first), id(second)))
    if isinstance(first, torch.Tensor):
        return same_bits(first, second)
    if type(first) is not type(second):
        return False
    if type(first) is dict:
        return first.keys() == second.keys() and all(
            same_left(first[name], second[name], met) for name in first
        )
    if type(first) in (list, tuple):
        return len(first) == len(second) and all(
            same_left(a, b, met) for a, b in zip(first, second, strict=True)
        )
    return True  # nobody can say what an object of some class holds


def attributes_of(module: nn.Module) -> dict[tuple[int, str], Any]:
    """Of the module and all in it. Names with an underscore are PyTorch's and the host's."""
    return {
        (number, name): value
        for number, inner in enumerate(module.modules())
        for name, value in vars(inner).items()
        if not name.startswith("_")
    }


def is_same(before: dict[tuple[int, str], Any], after: dict[tuple[int, str], Any]) -> bool:
    """Numbers and text by their values, all else by what it is."""
    plain = (bool, int, float, str)
    return before.keys() == after.keys() and all(
        value == after[place] if isinstance(value, plain) else value is after[place]
        for place, value in before.items()
    )


def random_states() -> list[torch.Tensor]:
    """Of the generators that a model draws from when it is given none."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states.extend(torch.cuda.get_rng_state_all())
    return states


def restore(states: Sequence[torch.Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(list(states[1:]))


def checked_shims(run: Run, block: Block, reused: set[int]) -> Iterator[Shim]:
    for cell, _, module in block.components():
        if cell in reused:
            yield Shim(module, partial(checked_shim, run, cell, module))


def checked_shim(run: Run, cell: int, module: nn.Module, original: Forward) -> Forward:
    """A leaf shim, once a trial has told what the module gives."""
    reusing: dict[Form, Forward] = {}

    @python_only
    def chosen() -> tuple[Trial | None, Forward]:
        call = run.current_call
        if call is None or run.self_check is None:
            return None, original
        if call.trial is not None:
            return (call.trial if cell in call.trial.cells else None), original
        form = run.self_check.forms.get(cell)
        if form is None:
            return None, original
        if form not in reusing:
            reusing[form] = formed_leaf_shim(run, cell, form, original)
        return None, reusing[form]

    @python_only
    def before(trial: Trial) -> tuple[Any, dict]:
        """What replaces the output, if anything, and what the module has as attributes."""
        if trial.replacing:
            return trial.replacement(cell), {}
        return None, attributes_of(module)

    @python_only
    def after(trial: Trial, args: tuple, kwargs: dict, output: Any, attributes: dict) -> None:
        if not trial.replacing:
            trial.note(cell, args, kwargs, output, not is_same(attributes, attributes_of(module)))

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        trial, function = chosen()
        if trial is None:
            return function(*args, **kwargs)
        value, attributes = before(trial)
        if value is None:
            value = original(*args, **kwargs)
            after(trial, args, kwargs, value, attributes)
        return value

    return uncompiled(forward)


def formed_leaf_shim(run: Run, cell: int, form: Form, original: Forward) -> Forward:
    """A leaf shim of a module that may leave out some of the tensors of a tuple."""

    @python_only
    def bare(output: Any) -> Any:
        return form.tensors(output) if Form.of(output) == form else OtherOutput(output)

    @python_only
    def dressed(value: Any) -> Any:
        return value.output if isinstance(value, OtherOutput) else form.filled(value)

    @wraps(original)
    def computed(*args: Any, **kwargs: Any) -> Any:
        return bare(original(*args, **kwargs))

    leaf = leaf_shim(run, cell, form.parts, uncompiled(computed))

    @wraps(original)
    def forward(*args: Any, **kwargs: Any) -> Any:
        return dressed(leaf(*args, **kwargs))

    return uncompiled(forward)
