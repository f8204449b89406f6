"""The files of a workspace as an object, for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .aio_client import AsyncPyro, FilePath
from .file_results import FileContent, FileInfo, SearchInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AsyncFiles"]


class AsyncFiles:
    """The files of a workspace: `ws.files`.

    Paths are absolute or relative to `/workspace`; those that are no UTF-8 are given as bytes.
    """

    def __init__(self, pyro: AsyncPyro, workspace_id: str) -> None:
        self._pyro = pyro
        self._workspace_id = workspace_id

    async def list(
        self, path: FilePath = "/workspace", *, recursive: bool = False
    ) -> tuple[FileInfo, ...]:
        """What is in a directory, depth first and by name."""
        listed = await self._pyro.list_workspace_files(
            self._workspace_id, path=path, recursive=recursive
        )
        return tuple(FileInfo.of(one) for one in listed["entries"])

    async def stat(self, path: FilePath, *, follow: bool = False) -> FileInfo:
        """What a path stands for; with `follow`, what a symlink leads to."""
        return FileInfo.of(
            await self._pyro.stat_workspace_file(self._workspace_id, path, follow=follow)
        )

    async def read(
        self,
        path: FilePath,
        *,
        max_bytes: int = 1 << 20,
        offset: int = 0,
        first_line: int | None = None,
        line_count: int | None = None,
    ) -> FileContent:
        """A file's content, up to 1 MiB of it: from a byte or a line (1 for the first) on."""
        return FileContent.of(
            await self._pyro.read_workspace_file(
                self._workspace_id,
                path,
                max_bytes=max_bytes,
                offset=offset,
                first_line=first_line,
                line_count=line_count,
            )
        )

    async def write(
        self,
        path: FilePath,
        content: str | bytes,
        *,
        mode: int | None = None,
        create_only: bool = False,
    ) -> None:
        """Writes a file of at most 1 MiB, whole or not at all; its directories are made."""
        await self._pyro.write_workspace_file(
            self._workspace_id,
            path,
            text=content if isinstance(content, str) else None,
            content=None if isinstance(content, str) else content,
            mode=mode,
            create_only=create_only,
        )

    async def edit(self, path: FilePath, old: str, new: str, *, replace_all: bool = False) -> int:
        """Replaces a text that is there exactly once, or wherever it is; how often it was."""
        edited = await self._pyro.edit_workspace_file(
            self._workspace_id, path, old=old, new=new, replace_all=replace_all
        )
        return edited["replacements"]

    async def move(self, path: FilePath, to: FilePath, *, replace: bool = False) -> FileInfo:
        """Renames a file or a directory; what is there is only replaced with `replace`."""
        return FileInfo.of(
            await self._pyro.move_workspace_file(self._workspace_id, path, to, replace=replace)
        )

    async def remove(self, path: FilePath, *, recursive: bool = False) -> None:
        """Removes a file, or a directory: an empty one, or with all in it (`recursive`)."""
        await self._pyro.remove_workspace_file(self._workspace_id, path, recursive=recursive)

    async def mkdir(self, path: FilePath, *, mode: int | None = None) -> FileInfo:
        """Makes a directory with those it lies in; one that is there is left as it is."""
        return FileInfo.of(
            await self._pyro.make_workspace_directory(self._workspace_id, path, mode=mode)
        )

    async def search(
        self,
        pattern: str,
        path: str = "/workspace",
        *,
        literal: bool = False,
        ignore_case: bool = False,
        globs: Sequence[str] = (),
        context: int = 0,
        max_matches: int | None = None,
        all: bool = False,  # noqa: A002 (as the command line has it)
        names_only: bool = False,
    ) -> SearchInfo:
        """Lines that match a regular expression, or hold a text (`literal`)."""
        return SearchInfo.of(
            await self._pyro.search_workspace_files(
                self._workspace_id,
                pattern,
                path=path,
                literal=literal,
                ignore_case=ignore_case,
                globs=globs,
                context=context,
                max_matches=max_matches,
                all=all,
                names_only=names_only,
            )
        )
