"""``medssl <verb>``: the functions of ``commands/``, with sentences instead of tracebacks.

The list of commands is a table, so that help needs no import of what it speaks about.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any, NoReturn

from medssl.errors import MedsslError, UsageError

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo:demo", "the whole road on synthetic anatomy: no data, no network, no GPU"),
    "index": ("index:index", "scan folders into a cohort; admit or quarantine every series"),
    "prepare": ("prepare:prepare", "orient, resample and normalise a cohort into a crop store"),
    "pretrain": ("pretrain:pretrain", "learn an encoder from a store, without labels"),
    "finetune": ("finetune:finetune", "learn a task from a few labels, with or without weights"),
    "predict": ("predict:predict", "masks on the source grid, or tables of classes"),
    "evaluate": ("evaluate:evaluate", "compare predictions with references"),
    "embed": ("embed:embed", "one feature vector a volume"),
    "probe": ("probe:probe", "judge features by kNN, linear probe and rank"),
    "benchmark crops": ("benchmark:crops", "how fast this machine loads crops from a store"),
    "benchmark step": ("benchmark_step:step", "what a training step of a recipe costs here"),
    "export": ("export:export", "hand weights over to other tools"),
    "weights list": ("zoo:list_zoo", "published checkpoints, with licence and size"),
    "weights show": ("zoo:show", "all that is known of one: input, licence, traps"),
    "weights fetch": ("zoo:fetch", "bring one into the cache, verified"),
    "weights verify": ("zoo:verify", "check an export: hash, schema, features"),
    "weights convert": ("weights:convert", "turn a published checkpoint into an export"),
    "weights push": ("push:push", "put an export onto the Hugging Face Hub"),
    "verify": ("verify:verify", "check a cohort, a store, a run or an export end to end"),
    "info": ("info:info", "versions, devices, codecs, cache folder"),
}
"""Every command in the order of the road: its function in ``commands/``, and what it does."""

CONFIGURED = {
    "pretrain": "pretrain_sections",
    "finetune": "finetune_sections",
    "benchmark step": "pretrain_sections",
}
"""Commands with a configuration file, and what its sections are."""

DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
}

HEAD = """\
medssl: self-supervised pretraining and few-label fine-tuning for CT and MRI

raw folder -index-> cohort -prepare-> store -pretrain-> export -finetune-> export -predict-> masks

usage: medssl COMMAND ...
"""
FOOT = """\
medssl COMMAND --help shows a worked example; --debug shows where an error came from.
For research; not a medical device.
"""


class _Terminated(KeyboardInterrupt):
    """The system asked the process to end; whoever saves on Ctrl-C saves on this too."""


class _Stop:
    """Turns SIGINT and SIGTERM into exceptions, and remembers which came.

    A trainer may answer an interrupt with an exit of its own; the code that the caller sees is then
    still that of the signal.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._process = os.getpid()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._raise)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _raise(self, number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG002
        if os.getpid() != self._process:
            # A worker that inherited this handler dies as it would without it, in silence.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        self.code = 128 + number
        raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        arguments: What the user typed after ``medssl``; by default that of this process.

    Returns:
        0 on success, 2 on wrong usage, 3 on unusable input, 130 on Ctrl-C, 143 on SIGTERM.

    Example:
        >>> main(["indx"])
        2
    """
    typed = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in typed
    _quieten(debug=debug)
    with _Stop() as stop:
        try:
            _run([word for word in typed if word != "--debug"])
        except BaseException as error:  # noqa: BLE001 - the one place where all errors end
            if debug:
                traceback.print_exc()
            return _report(error, stop)
    return 0


def _run(tokens: list[str]) -> None:
    """Find the command and call it."""
    if not tokens or tokens[0] in ("-h", "--help", "help"):
        print(_overview())
        return
    if tokens[0] == "--version":
        from medssl import __version__

        print(f"medssl {__version__}")
        return
    verb, rest = _find(tokens)
    rest = [_dashed(token) for token in rest]
    function = _load(COMMANDS[verb][0])
    from medssl.commands.arguments import build_parser, parse

    configured = verb in CONFIGURED
    rest, changes = _split_overrides(rest) if configured else (rest, [])
    if configured and "--print-config" in rest:
        _print_config(verb, rest, changes)
        return
    parser = build_parser(function, prog=f"medssl {verb}")
    if {"-h", "--help"} & set(rest):
        print(parser.format_help(), end="")
        return
    given = parse(parser, rest)
    function(**given, **({"overrides": changes} if changes else {}))


def _find(tokens: list[str]) -> tuple[str, list[str]]:
    """Split what was typed into a command of one or two words and its arguments."""
    for words in (2, 1):
        verb = " ".join(tokens[:words])
        if verb in COMMANDS:
            return verb, tokens[words:]
    inside = [name.split()[1] for name in COMMANDS if name.split()[0] == tokens[0] and " " in name]
    if inside:
        raise UsageError(f"medssl {tokens[0]} needs one of: {', '.join(inside)}")
    from medssl.registry import nearest

    known = {name.split()[0] for name in COMMANDS}
    raise UsageError(f'no command is called "{tokens[0]}"; {nearest(tokens[0], known)}')


def _load(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    function: Callable[..., Any] = getattr(
        importlib.import_module(f"medssl.commands.{module}"), name
    )
    return function


def _dashed(token: str) -> str:
    """Read ``--num_parts`` as ``--num-parts``; dotted keys keep their spelling."""
    option, equals, value = token.partition("=")
    if not option.startswith("--") or "." in option:
        return token
    return option.replace("_", "-") + equals + value


def _split_overrides(tokens: list[str]) -> tuple[list[str], list[str]]:
    """Take ``--section.key VALUE …`` out of the arguments."""
    rest: list[str] = []
    changes: list[str] = []
    target = rest
    for token in tokens:
        if token.startswith("-"):
            target = changes if "." in token.partition("=")[0] and token[:2] == "--" else rest
        target.append(token)
    return rest, changes


def _print_config(verb: str, tokens: list[str], changes: list[str]) -> None:
    """Show the whole configuration; what only a run needs, such as ``--out``, may be missing."""
    from medssl.commands import configuration

    if "--config" not in tokens or tokens[-1] == "--config":
        raise UsageError(f"medssl {verb} --print-config needs --config FILE")
    file = tokens[tokens.index("--config") + 1]
    sections = getattr(configuration, CONFIGURED[verb])()
    print(configuration.load_configuration(file, changes, sections).to_yaml(), end="")


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 2
    rows = [f"  {verb:<{width}}{summary}" for verb, (_, summary) in COMMANDS.items()]
    return "\n".join([HEAD, *rows, "", FOOT.rstrip()])


def _quieten(*, debug: bool) -> None:
    """Keep what libraries tell programmers away from users, unless they ask for it."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    if debug:
        logging.getLogger("medssl").setLevel(logging.DEBUG)
        return
    for name in ("lightning", "lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    libraries = "torch|lightning|pytorch_lightning|monai|nibabel|pydicom|blosc2|matplotlib|sklearn"
    warnings.filterwarnings("ignore", module=rf"({libraries})(\.|$)")


def _report(error: BaseException, stop: _Stop) -> int:
    """Say in one sentence what went wrong and return the exit code."""
    if stop.code is not None:
        _say("stopped; the same command with --resume goes on where it can")
        return stop.code
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        _say("stopped")
        return 130
    if isinstance(error, MedsslError):
        _say(str(error))
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        return 0
    if isinstance(error, OSError) and error.errno in DISK:
        name = str(error.filename).rpartition("/")[2] if error.filename else "the output"
        _say(f"can't use {name}: {DISK[error.errno]}; choose another --out or free some space")
        return 3
    _say(
        f"this is a fault of medssl, not yours: {type(error).__name__}: {error}. "
        "Please report it with what the same command prints with --debug"
    )
    return 3


def _say(sentence: str) -> None:
    print(f"medssl: {sentence}", file=sys.stderr)
