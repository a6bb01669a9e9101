"""Every trap is a test on every family, or says why it cannot be one.

A test names its traps at the beginning of its docstring ("T6, T23: ..."); its families are those of
its fixtures and of the family names that it writes out.

| trap | what goes wrong in a cache |
|---|---|
| T1 | blocks add in place to what was stored by reference |
| T2 | modulation of token ranges writes on the stored value itself |
| T3 | the sampler's own tensor is the model's input |
| T4, T5 | a CFG pair is one call or two, and may change in the middle of a run |
| T6 | the same conditioning is evaluated twice: guidance, tiles, context windows |
| T7 | a conditioning is away for some steps |
| T8 | evaluations are not steps |
| T9, T10 | repeated, truncated, single, zero noise levels; parts of a sampling |
| T11 | state outlives the run |
| T12 | cancel and errors anywhere, also inside a layer |
| T13 | the unpatched branch of the model is touched |
| T14, T15 | clones copy, share or exchange options and modules |
| T16 | transformer_options is copied for each call |
| T17 | the model function wrapper is a single slot |
| T18 | other nodes replace blocks, add residuals, patch attention or the very forward |
| T19 | the number of tokens changes |
| T20 | a silent no-op |
| T21 | torch.compile freezes a decision |
| T22 | dtypes, quantised and offloaded weights |
| T23 | extra calls shift a schedule that counts calls |
| T24 | the wrong kind of model is chosen by hand |
| T25 | debug leftovers |
| T26 | an import of the host's model code that moved |
| T27 | the memory that is stored is not the memory that was predicted |
| T28 | worker threads with modules of their own |
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

TRAPS = [f"T{number}" for number in range(1, 29)]
FAMILIES = ("pixart", "flux", "flux2")
FIXTURES = {"small": FAMILIES, "small_flux": ("flux", "flux2"), "tiny_pixart": ("pixart",)}
CANNOT_APPLY = {
    ("T26", family): "it reads the adapter's imports, which no model takes part in"
    for family in FAMILIES
}


def named_traps(function: ast.FunctionDef) -> set[str]:
    head = (ast.get_docstring(function) or "").partition(":")[0]
    return set(re.findall(r"T\d+", head)) if re.fullmatch(r"(T\d+(, )?)+", head) else set()


def families_of(function: ast.FunctionDef) -> set[str]:
    fixtures = {argument.arg for argument in function.args.args} & set(FIXTURES)
    constants = {node.value for node in ast.walk(function) if isinstance(node, ast.Constant)}
    return {f for fixture in fixtures for f in FIXTURES[fixture]} | constants.intersection(FAMILIES)


def test_every_trap_is_a_test_on_every_family():
    named = set()
    for path in Path(__file__).parent.glob("test_engine_traps*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                traps = named_traps(node)
                assert traps <= set(TRAPS), f"{node.name} names a trap that is none"
                named |= {(trap, family) for trap in traps for family in families_of(node)}
    wanted = {(trap, family) for trap in TRAPS for family in FAMILIES}
    assert [] == sorted(wanted - named - set(CANNOT_APPLY))
    assert [] == sorted(named & set(CANNOT_APPLY))
