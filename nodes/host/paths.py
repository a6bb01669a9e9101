"""Where the pack reads and writes files; a name from a widget stays in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import folder_paths

from ...ecad_search.errors import EcadError, StorageError
from ...ecad_search.file_names import confined
from ...ecad_search.library import ScheduleLibrary

PACK_FOLDER = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class ModelFolder:
    """models/`name`, which this pack adds to the host's folders for files with these endings."""

    name: str
    endings: tuple[str, ...]

    def register(self) -> None:
        """Tell the host of it: extra_model_paths.yaml, which may name it first, and GET /models."""
        default = str(Path(folder_paths.models_dir) / self.name)
        folder_paths.add_model_folder_path(self.name, default, is_default=True)
        # A new name starts without extensions, which the host reads as "every file".
        folder_paths.folder_names_and_paths[self.name][1].update(self.endings)

    def paths(self) -> list[Path]:
        """The folders of this name; new files go to the first."""
        if self.name not in folder_paths.folder_names_and_paths:
            self.register()
        return [Path(folder) for folder in folder_paths.get_folder_paths(self.name)]

    def files(self, *endings: str) -> list[str]:
        """Its files, in sub-folders as well, with one of `endings`, or all of them."""
        names = folder_paths.get_filename_list(self.name) if self.paths() else []
        return [name for name in names if name.lower().endswith(endings or ("",))]

    def file(self, name: str, *endings: str) -> Path:
        """A file that `files` lists."""
        found = name in self.files(*endings)
        path = folder_paths.get_full_path(self.name, name) if found else None
        if path is None:
            raise StorageError(
                f"There is no file {name[:80]!r} in models/{self.name}; put it there and refresh "
                "the list."
            )
        return Path(path)


SCHEDULES = ModelFolder("ecad_schedules", (".json",))
IMAGE_REWARD = ModelFolder("image_reward", (".pt", ".safetensors", ".json", ".txt"))
SCORERS = ModelFolder("ecad_scorers", (".pt", ".pth", ".safetensors", ".bin", ".json"))


def schedule_library() -> ScheduleLibrary:
    """The schedules that come with the pack and the user's own."""
    return ScheduleLibrary(PACK_FOLDER / "schedules", SCHEDULES.paths())


def results_folder() -> Path:
    """output/ecad: journals, fronts and comparisons. Created at its first use."""
    folder = Path(folder_paths.get_output_directory()) / "ecad"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The folder '{folder.name}' in ComfyUI's output folder cannot be created "
            f"({error.strerror}); make the output folder writable or start ComfyUI with another "
            "--output-directory."
        ) from error
    return folder


def result_path(name: str, suffix: str = "") -> Path:
    """`name` + `suffix` inside results_folder(); sub-folders are allowed, leaving it is not."""
    path = confined(results_folder(), name, "ComfyUI's output/ecad folder", suffix=suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"The folder of '{name}' cannot be created in output/ecad ({error.strerror}); "
            "choose another name or make the output folder writable."
        ) from error
    return path


def input_path(name: str) -> Path:
    """A file in ComfyUI's input folder."""
    return confined(Path(folder_paths.get_input_directory()), name, "ComfyUI's input folder")


def result_name_problem(name: str) -> str:
    """What is wrong with a name for `result_path`; nothing when it can be used."""
    try:
        confined(results_folder(), name, "ComfyUI's output/ecad folder")
    except EcadError as error:
        return str(error)
    return ""


def output_name(path: Path) -> str:
    """A `result_path` as users see it in ComfyUI's output folder: 'ecad/search.front.json'."""
    return f"ecad/{path.relative_to(results_folder().resolve()).as_posix()}"
