"""The tables of a LeRobot data set: columns as arrays, an episode's rows found and checked, images row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError, require
from sinew.data.formats.source import numbers


def read_columns(path: Path, columns: Sequence[str] = (), *, but: str = "") -> Any:  # noqa: ANN401  (pyarrow has no types)
    """Return a Parquet file as a pyarrow table.

    Args:
        path: the file.
        columns: names; none means all.
        but: leaves out columns whose names begin like this, where all are read.

    Raises:
        DataError: missing, cut off, or without one of the columns.
    """
    pa, pq = require("pyarrow", extra="formats"), require("pyarrow.parquet", extra="formats")

    if not path.exists():
        raise DataError(f"{path}: is missing. Restore the file; a recording must be finished before it is read.")
    try:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        absent = [name for name in columns if name not in names]
        if absent:
            raise DataError(
                f"{path}: has no column {', '.join(absent)}, but {', '.join(names)}. "
                "Record again, or correct meta/info.json."
            )
        return file.read(columns=list(columns) or [name for name in names if not (but and name.startswith(but))])
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read as Parquet ({error}). It may have been cut off while it was written; "
            "restore it from a copy."
        ) from error


def text_column(table: Any, path: Path) -> list[str]:  # noqa: ANN401
    """Return the one column of text that a table has.

    Raises:
        DataError: there is none.
    """
    import pyarrow as pa

    for field in table.schema:
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            return [text or "" for text in table[field.name].to_pylist()]
    raise DataError(f"{path}: has no column of text, but {', '.join(table.schema.names)}.")


class Table:
    """One file of frames, its columns of numbers in memory; images and readings are read when asked for.

    Args:
        path: the Parquet file.
        columns: numbers to read.
        heavy: features with images or readings of sensors in them.

    Attributes:
        path: the Parquet file.
    """

    def __init__(self, path: Path, columns: Sequence[str], heavy: Sequence[str]) -> None:
        self.path = path
        table = read_columns(path, columns)
        self.owners = self._plain(table, "episode_index")
        self._columns: Mapping[str, NDArray[Any]] = {name: self._matrix(table, name) for name in columns}
        for name in columns:
            numbers(self._columns[name], f"{path}: {name}", floating=False)
        self._heavy = tuple(heavy)
        self._group: tuple[int, Any] = (-1, None)

    def where(self, episode: int) -> str:
        """Return file and episode, for messages."""
        return f"{self.path}: episode {episode}"

    def frames(self, name: str, *, floating: bool) -> NDArray[np.float32]:
        """Return a column of the whole file, (N, n)."""
        return numbers(self._columns[name], f"{self.path}: {name}", floating=floating)

    def episode(self, index: int, length: int, fps: float) -> Frames:
        """Return the rows of an episode.

        Raises:
            DataError: they are not there, not one run, not numbered from 0 on, or their seconds are another rate's.
        """
        rows = np.flatnonzero(self.owners == index)
        if len(rows) != length:
            raise DataError(
                f"{self.where(index)}: has {len(rows)} frames here, the table of episodes says {length}. "
                "Restore meta/ and data/ from one recording."
            )
        ticks = self._columns["frame_index"][rows, 0]
        wrong = np.flatnonzero((ticks != np.arange(length)) | (np.diff(rows, prepend=rows[0] - 1) != 1))
        if len(wrong):
            raise DataError(
                f"{self.where(index)}, frame {wrong[0]}: the row there is frame {ticks[wrong[0]]}. "
                "Rows must lie in order, none missing; record the episode again, or leave it out."
            )
        late = np.flatnonzero(np.abs(self._columns["timestamp"][rows, 0] * fps - np.arange(length)) > 0.5)
        if len(late):
            seconds = self._columns["timestamp"][rows[late[0]], 0]
            raise DataError(
                f"{self.where(index)}, frame {late[0]}: is at {seconds:g} s; at {fps:g} Hz it belongs at "
                f"{late[0] / fps:g} s. The recording lost frames, or fps in meta/info.json is wrong."
            )
        return Frames(self, index, rows)

    def rows(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows of a column of numbers, (T, n).

        Raises:
            DataError: there is no such column.
        """
        if name not in self._columns:
            raise DataError(
                f"{self.path}: has no column {name}, only {', '.join(sorted(self._columns))}. "
                "Restore the file, or meta/info.json, which lists the columns."
            )
        return self._columns[name][rows]

    def contents(self, key: str, rows: NDArray[np.int64]) -> Iterator[bytes | None]:
        """Yield the encoded images of rows that lie in order."""
        for part in self._parts(key, rows):
            try:
                yield from (None if item is None else item["bytes"] for item in part.to_pylist())
            except (KeyError, TypeError) as error:
                raise DataError(f"{self.path}: {key}: holds no images ({error}). Restore the file.") from error

    def readings(self, key: str, rows: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the numbers of rows that lie in order, (T, *shape) in the type they are stored in.

        Raises:
            DataError: they are missing, or not as many.
        """
        flat = np.concatenate([self._flat(key, part) for part in self._parts(key, rows)])
        if flat.size != len(rows) * int(np.prod(shape)):
            raise DataError(
                f"{self.path}: {key} has {flat.size} values in {len(rows)} frames, meta/info.json says {shape} each. "
                "Correct the shape, or record again."
            )
        return flat.reshape(len(rows), *shape)

    def _parts(self, key: str, rows: NDArray[np.int64]) -> Iterator[Any]:
        """Yield a column's rows that lie in order, one row group in memory at a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not len(rows):
            return
        try:
            file = pq.ParquetFile(self.path)
            ends = np.cumsum([file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)])
            for number in range(
                int(np.searchsorted(ends, rows[0], "right")), int(np.searchsorted(ends, rows[-1], "right")) + 1
            ):
                if self._group[0] != number:
                    self._group = (number, file.read_row_group(number, columns=list(self._heavy)))
                start = ends[number - 1] if number else 0
                inside = rows[(rows >= start) & (rows < ends[number])] - start
                yield self._group[1][key].slice(int(inside[0]), len(inside)).combine_chunks()
        except (pa.ArrowException, OSError, ValueError, KeyError) as error:
            raise DataError(f"{self.path}: {key}: cannot be read ({error}). Restore the file.") from error

    def _flat(self, key: str, column: Any) -> NDArray[Any]:  # noqa: ANN401
        """Return the numbers in lists of lists, one after another."""
        import pyarrow as pa

        while column.null_count == 0:
            if isinstance(column, pa.ExtensionArray):
                column = column.storage
            elif hasattr(column.type, "value_type") and hasattr(column, "flatten"):
                column = column.flatten()
            else:
                return np.asarray(column.to_numpy(zero_copy_only=False))
        raise DataError(f"{self.path}: {key}: some rows have no value. Fill them in, or leave the sensor out.")

    def _plain(self, table: Any, name: str) -> NDArray[Any]:  # noqa: ANN401
        """Return a column of single numbers, (N,)."""
        column = table[name]
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy())[0])
            raise DataError(f"{self.path}: {name}: row {row} is empty. Fill it in, or leave the episode out.")
        return np.asarray(column.to_numpy())

    def _matrix(self, table: Any, name: str) -> NDArray[Any]:  # noqa: ANN401
        """Return a column of numbers or of lists of one length, (N, n), in the type it is stored in."""
        import pyarrow as pa

        column = table[name].combine_chunks()
        kind = column.type
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
            return self._plain(table, name)[:, None]
        values = column.flatten()
        if column.null_count or values.null_count:
            missing = np.array([item is None or None in item for item in column.to_pylist()])
            raise DataError(f"{self._row(table, int(np.flatnonzero(missing)[0]))}: {name} has no value. Fill it in.")
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        odd = np.flatnonzero(lengths != lengths[:1])
        if len(odd):
            raise DataError(
                f"{self._row(table, int(odd[0]))}: {name} has {lengths[odd[0]]} values, the rows before {lengths[0]}."
            )
        return values.to_numpy(zero_copy_only=False).reshape(len(column), -1)

    def _row(self, table: Any, row: int) -> str:  # noqa: ANN401
        episode, frame = table["episode_index"][row].as_py(), table["frame_index"][row].as_py()
        return f"{self.path}: episode {episode}, frame {frame}"


class Frames:
    """The rows of one episode in a ``Table``."""

    def __init__(self, table: Table, index: int, rows: NDArray[np.int64]) -> None:
        self._table, self._index, self._rows = table, index, rows

    def values(self, name: str, *, floating: bool) -> NDArray[np.float32]:
        """Return a column, (T, n) float32.

        Raises:
            DataError: it does not hold such numbers.
        """
        where = f"{self._table.where(self._index)}: {name}"
        return numbers(self._table.rows(name, self._rows), where, floating=floating)

    def readings(self, key: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return a sensor's readings, (T, *shape) in the type they are stored in."""
        return self._table.readings(key, self._rows, shape)

    def pictures(self, key: str) -> Iterator[bytes]:
        """Yield the encoded images of a feature.

        Raises:
            DataError: one is missing or kept as the name of a file elsewhere.
        """
        for frame, content in enumerate(self._table.contents(key, self._rows)):
            if content is None:
                raise DataError(
                    f"{self._table.where(self._index)}, frame {frame}: {key} holds no image bytes. "
                    "Images must lie in the table; write the data set again with them inside."
                )
            yield content
