"""Results and errors of a task, in a form that a journal can hold and that the launcher restores unchanged."""

from __future__ import annotations

import base64
import json
import math
import pickle
import traceback
from typing import Any

from hpcorch import tunables
from hpcorch.errors import RecordError, TaskFailedError
from hpcorch.journal.access import make_record_folder
from hpcorch.journal.files import read_regular, write_whole
from hpcorch.journal.layout import SweepLayout
from hpcorch.journal.lines import is_shallow
from hpcorch.model.events import AttemptEnded
from hpcorch.model.ids import AttemptId
from hpcorch.model.values import digest, from_plain, plain_key, to_plain
from hpcorch.quick_dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedResult:
    """A result as fields of :class:`AttemptEnded`."""

    result: Any = None
    result_pickle: str | None = None
    result_file: str | None = None
    result_digest: str | None = None


def encode_result(value: Any, layout: SweepLayout, attempt: AttemptId) -> EncodedResult:
    """A task's return value for the journal. What cannot be pickled keeps its JSON form or ``repr``."""
    readable, exact = _readable(value)
    if exact:
        return EncodedResult(result=readable)
    try:
        import cloudpickle

        content = cloudpickle.dumps(value)
    except Exception:  # noqa: BLE001 - any object may fail to pickle in any way
        return EncodedResult(result=readable)
    if len(content) <= tunables.INLINE_RESULT_BYTES:
        return EncodedResult(result=readable, result_pickle=base64.b64encode(content).decode("ascii"))
    path = layout.results / f"{attempt}.pkl"
    make_record_folder(layout.results)
    write_whole(path, content)
    return EncodedResult(result=readable, result_file=layout.relative(path), result_digest=digest(content))


def _readable(value: Any) -> tuple[Any, bool]:
    """What a journal line shows of a value, and whether that is all of it, exactly."""
    try:
        form = json_form(value)
        if is_shallow({"result": form}) and len(json.dumps(form)) <= tunables.INLINE_RESULT_BYTES:
            return form, is_plain(value)
    except Exception:  # noqa: BLE001 - values that hold themselves, and objects whose methods raise
        return _repr(value), False
    return _repr(value), False


def _repr(value: Any) -> str:
    if type(value) is int:  # Python's own would refuse
        return f"<an integer of {value.bit_length()} bits>"
    try:
        return repr(value)[: tunables.RESULT_REPR_CHARS]
    except Exception:  # noqa: BLE001 - a task's own class may raise anything
        return f"<{type(value).__name__} without a repr>"


def decode_result(end: AttemptEnded, layout: SweepLayout) -> Any:
    """The object that a task returned.

    :raises OSError: its file is gone
    :raises RecordError: it is another user's, or not what was recorded
    """
    if end.result_pickle is not None:
        return pickle.loads(base64.b64decode(end.result_pickle))  # noqa: S301 - written by the user's own job
    if end.result_file is not None:
        return pickle.loads(result_file(end, layout))  # noqa: S301 - likewise
    return from_plain(end.result)


def result_file(end: AttemptEnded, layout: SweepLayout) -> bytes:
    """The content of the file that holds a result, as it was recorded. Errors as for :func:`decode_result`."""
    assert end.result_file is not None
    path = layout.present(layout.directory / end.result_file)
    content = read_regular(path, own=True, of_any_size=True)
    if end.result_digest is not None and digest(content) != end.result_digest:
        raise RecordError(f"{path} was changed after the run had ended: restore it from a backup, or run it again")
    return content


def is_plain(value: Any) -> bool:
    """Whether the plain form gives the value back as it was, type for type."""
    if type(value) is int:
        return value.bit_length() <= 3 * tunables.INLINE_RESULT_BYTES  # three bits are less than a digit
    if value is None or type(value) in (bool, float, str):
        return True
    if type(value) is list:
        return all(map(is_plain, value))
    if type(value) is dict:
        return all(type(key) is str and is_plain(item) for key, item in value.items())
    return False


def json_form(value: Any) -> Any:
    """The plain form of a value, or of the nearest to it that has one, for people and for SQL."""
    if is_plain(value):
        return to_plain(value)
    if isinstance(value, float):  # NumPy's float64 is a float
        return to_plain(float(value))
    if isinstance(value, dict):
        return {plain_key(str(key)): json_form(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_form(item) for item in value]
    if hasattr(value, "tolist") and math.prod(getattr(value, "shape", ())) <= tunables.INLINE_RESULT_BYTES // 16:
        return json_form(value.tolist())  # NumPy scalars and small arrays, small tensors
    return _repr(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedError:
    """An exception as fields of :class:`AttemptEnded`."""

    error: str
    traceback: str
    error_pickle: str | None


def encode_error(error: BaseException) -> EncodedError:
    """A task's exception as fields of :class:`AttemptEnded`."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        import cloudpickle

        content = cloudpickle.dumps(error)
        pickle.loads(content)  # noqa: S301 - proves that the launcher will be able to
    except Exception:  # noqa: BLE001 - exceptions with required arguments often do not survive pickling
        content = b""
    fits = 0 < len(content) < tunables.INLINE_RESULT_BYTES
    return EncodedError(
        error=f"{type(error).__name__}: {_message(error)}"[: tunables.ERROR_MESSAGE_CHARS],
        traceback=text[-tunables.TRACEBACK_CHARS :],
        error_pickle=base64.b64encode(content).decode("ascii") if fits else None,
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a task's own exception may raise anything
        return "its text cannot be read: its __str__ raises"


def decode_error(end: AttemptEnded, *, run: int, log: str | None) -> Exception:
    """The exception that a task raised, or one of ours that describes it if it cannot be rebuilt."""
    if end.error_pickle is not None:
        try:
            error = pickle.loads(base64.b64decode(end.error_pickle))  # noqa: S301 - the user's own job
        except Exception:  # noqa: BLE001 - its class may not be importable here
            error = None
        if isinstance(error, Exception):
            return error
    return TaskFailedError(end.error or end.reason or f"the attempt ended as {end.outcome}", run=run, log=log)
