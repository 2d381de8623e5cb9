"""Reads pickles as data: a tree of plain values and records, with nothing imported and nothing run.

A pickle is a program for a small stack machine, and Python's reader calls whatever it names. This
reader has the same stack and calls nothing: a class or function that is named becomes a record of
its name, and a call becomes a record of the name and the arguments. What a record means is decided
by those who asked for the file (`fer_keras.loading.torch_files`).
"""

import pickletools
from collections.abc import Callable
from typing import IO, Any

# Of a checkpoint with an optimizer some 50 thousand; a file of empty lists has one for each byte,
# and each takes fifty bytes of memory.
MAX_OPCODES = 2_000_000
# Only these are kept as keys: the hash of nested tuples can exhaust the stack of the process.
_KEYS = (str, int, float, bytes, type(None))
_MARK = object()


class Record:
    """A class, a function, or the result of calling one, that was never imported.

    Attributes:
        name: `module.name`, as the pickle has it.
        args: What it was called with; None for the class or function itself.
        state: What an object was filled with; None where it was not.
        items: What was added by key.
    """

    __slots__ = ("args", "items", "name", "state")

    def __init__(self, name: str, args: Any = None) -> None:
        self.name = name
        self.args = args
        self.state: Any = None
        self.items: dict[Any, Any] = {}


PERSISTENT = "persistent id"


class PickleTreeError(ValueError):
    """Not a pickle, or one that this reader refuses; the message says why."""


def read_pickle_tree(stream: IO[bytes]) -> Any:
    """Reads one pickle.

    Args:
        stream: At its first byte; afterwards it stands behind the last one.

    Returns:
        Numbers, strings, bytes, None, lists, tuples and dicts, with a `Record` in the place of all
        else; sets are lists. An object that the file keeps elsewhere is a record named
        `PERSISTENT`, with its id as arguments. Values may occur several times, and in themselves.

    Raises:
        PickleTreeError: Cut off, malformed, or larger than any model needs.
    """
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count >= MAX_OPCODES:
                raise PickleTreeError(f"more than {MAX_OPCODES} instructions")
            machine.step(opcode.name, argument)
    except PickleTreeError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise PickleTreeError(f"a damaged pickle ({type(error).__name__}: {error})") from error
    return machine.result()


class _Machine:
    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        if len(self._stack) != 1:
            raise PickleTreeError("a pickle without a result")
        return self._stack[0]

    def step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name]())
        elif name in _MEMO_PUTS:
            self._memo[len(self._memo) if argument is None else argument] = self._stack[-1]
        elif name in _MEMO_GETS:
            self._stack.append(self._memo[argument])
        elif name in _ACTIONS:
            _ACTIONS[name](self, argument)
        elif name not in _NOTHING:
            raise PickleTreeError(f"the instruction {name}, which no model needs")

    def _to_mark(self) -> list[Any]:
        """Takes what lies above the last mark, and the mark."""
        taken: list[Any] = []
        while (value := self._stack.pop()) is not _MARK:
            taken.append(value)
        return taken[::-1]

    def _take(self, count: int) -> tuple[Any, ...]:
        taken = self._stack[len(self._stack) - count :]
        if len(taken) != count or any(value is _MARK for value in taken):
            raise PickleTreeError("a damaged pickle (too few values on its stack)")
        del self._stack[len(self._stack) - count :]
        return tuple(taken)

    def tuple_of(self, count: int) -> None:
        self._stack.append(self._take(count))

    def tuple_to_mark(self) -> None:
        self._stack.append(tuple(self._to_mark()))

    def list_to_mark(self) -> None:
        self._stack.append(self._to_mark())

    def dict_to_mark(self) -> None:
        values = self._to_mark()
        self._stack.append({})
        self._set(values)

    def append(self, values: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(values)
        elif not isinstance(target, Record):
            raise PickleTreeError("a damaged pickle (values are added to what is no list)")

    def append_one(self) -> None:
        self.append(list(self._take(1)))

    def append_to_mark(self) -> None:
        self.append(self._to_mark())

    def set_one(self) -> None:
        self._set(list(self._take(2)))

    def set_to_mark(self) -> None:
        self._set(self._to_mark())

    def _set(self, values: list[Any]) -> None:
        target = self._stack[-1]
        items = target.items if isinstance(target, Record) else target
        if not isinstance(items, dict) or len(values) % 2:
            raise PickleTreeError("a damaged pickle (keys are set in what is no dict)")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if isinstance(key, _KEYS):
                items[key] = value

    def name(self, argument: str) -> None:
        self._stack.append(Record(argument.replace(" ", ".", 1)))

    def name_on_stack(self) -> None:
        module, name = self._take(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise PickleTreeError("a damaged pickle (a name that is no text)")
        self._stack.append(Record(f"{module}.{name}"))

    def call(self) -> None:
        function, args = self._take(2)
        self._stack.append(_called(function, args))

    def call_with_keywords(self) -> None:
        function, args, _ = self._take(3)
        self._stack.append(_called(function, args))

    def call_to_mark(self) -> None:
        function, *args = self._to_mark()
        self._stack.append(_called(function, tuple(args)))

    def call_name_to_mark(self, argument: str) -> None:
        args = tuple(self._to_mark())
        self._stack.append(_called(Record(argument.replace(" ", ".", 1)), args))

    def fill(self) -> None:
        (state,) = self._take(1)
        target = self._stack[-1]
        if isinstance(target, Record):
            target.state = state
        elif not isinstance(target, dict):
            raise PickleTreeError("a damaged pickle (a plain value is given a state)")

    def persistent(self) -> None:
        (key,) = self._take(1)
        self._stack.append(Record(PERSISTENT, key))

    def mark(self) -> None:
        self._stack.append(_MARK)

    def pop(self) -> None:
        self._stack.pop()

    def pop_to_mark(self) -> None:
        self._to_mark()

    def duplicate(self) -> None:
        self._stack.append(self._stack[-1])


def _called(function: Any, args: Any) -> Any:
    if not isinstance(function, Record):
        raise PickleTreeError("a damaged pickle (what is called has no name)")
    if function.name == "collections.OrderedDict":
        pairs = args[0] if isinstance(args, tuple) and args else []
        return {key: value for key, value in pairs if isinstance(key, _KEYS)}
    return Record(function.name, args)


_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING",
    "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,
}
_MEMO_PUTS = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_MEMO_GETS = {"GET", "BINGET", "LONG_BINGET"}
_NOTHING = {"PROTO", "FRAME", "STOP"}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.pop(),
    "POP_MARK": lambda machine, _: machine.pop_to_mark(),
    "DUP": lambda machine, _: machine.duplicate(),
    "TUPLE": lambda machine, _: machine.tuple_to_mark(),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": lambda machine, _: machine.list_to_mark(),
    "FROZENSET": lambda machine, _: machine.list_to_mark(),
    "DICT": lambda machine, _: machine.dict_to_mark(),
    "APPEND": lambda machine, _: machine.append_one(),
    "APPENDS": lambda machine, _: machine.append_to_mark(),
    "ADDITEMS": lambda machine, _: machine.append_to_mark(),
    "SETITEM": lambda machine, _: machine.set_one(),
    "SETITEMS": lambda machine, _: machine.set_to_mark(),
    "GLOBAL": lambda machine, argument: machine.name(argument),
    "STACK_GLOBAL": lambda machine, _: machine.name_on_stack(),
    "REDUCE": lambda machine, _: machine.call(),
    "NEWOBJ": lambda machine, _: machine.call(),
    "NEWOBJ_EX": lambda machine, _: machine.call_with_keywords(),
    "OBJ": lambda machine, _: machine.call_to_mark(),
    "INST": lambda machine, argument: machine.call_name_to_mark(argument),
    "BUILD": lambda machine, _: machine.fill(),
    "BINPERSID": lambda machine, _: machine.persistent(),
}
