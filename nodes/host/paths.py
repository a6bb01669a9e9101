"""Where the pack reads and writes files; a name from a widget stays in its folder."""

from __future__ import annotations

import re
from pathlib import Path

import folder_paths

from ...ecad_search.errors import StorageError
from ...ecad_search.library import ScheduleLibrary

PACK_FOLDER = Path(__file__).resolve().parents[2]
SCHEDULES = "ecad_schedules"  # the host's name of models/ecad_schedules
SCORERS = "image_reward"
SCORER_ENDINGS = (".pt", ".safetensors", ".json", ".txt")


def register_schedule_folder() -> None:
    """Tell the host of models/ecad_schedules: extra_model_paths.yaml and GET /models know it."""
    default = str(Path(folder_paths.models_dir) / SCHEDULES)
    folder_paths.add_model_folder_path(SCHEDULES, default, is_default=True)
    # A new name starts without extensions, which the host reads as "every file".
    folder_paths.folder_names_and_paths[SCHEDULES][1].add(".json")


def schedule_folders() -> list[Path]:
    """The user's schedule folders; new schedules go to the first."""
    if SCHEDULES not in folder_paths.folder_names_and_paths:
        register_schedule_folder()
    return [Path(folder) for folder in folder_paths.get_folder_paths(SCHEDULES)]


def scorer_files(*endings: str) -> list[str]:
    """Files with one of `endings` in models/image_reward."""
    if SCORERS not in folder_paths.folder_names_and_paths:
        default = str(Path(folder_paths.models_dir) / SCORERS)
        folder_paths.add_model_folder_path(SCORERS, default, is_default=True)
        folder_paths.folder_names_and_paths[SCORERS][1].update(SCORER_ENDINGS)
    return [n for n in folder_paths.get_filename_list(SCORERS) if n.lower().endswith(endings)]


def scorer_file(name: str) -> Path:
    """A file that `scorer_files` listed."""
    path = folder_paths.get_full_path(SCORERS, name) if name in scorer_files("") else None
    if path is None:
        raise StorageError(
            f"There is no file '{name}' in models/{SCORERS}; put it there and refresh the list."
        )
    return Path(path)


def schedule_library() -> ScheduleLibrary:
    """The schedules that come with the pack and the user's own."""
    return ScheduleLibrary(PACK_FOLDER / "schedules", schedule_folders())


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
    path = confined(results_folder(), f"{name}{suffix}", "ComfyUI's output/ecad folder")
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


def confined(folder: Path, name: str, described: str) -> Path:
    """`folder / name`; refused outside `folder`, or with characters some system forbids."""
    expected = f"expected a relative name inside {described}, such as 'mine/first'"
    parts = re.split(r"[\\/]", name)
    if not name.strip() or any(part.strip(" .") == "" for part in parts):
        raise StorageError(f"'{name}' is not a usable file name; {expected}.")
    if Path(name).is_absolute() or re.search(r'[<>:"|?*\x00-\x1f]', name):
        raise StorageError(f"'{name}' is not a usable file name; {expected}.")
    root = folder.resolve()
    path = root.joinpath(*parts).resolve()
    if not path.is_relative_to(root):  # a link that leads out of the folder
        raise StorageError(f"'{name}' leads out of {described}; {expected}.")
    return path


def output_name(path: Path) -> str:
    """A `result_path` as users see it in ComfyUI's output folder: 'ecad/search.front.json'."""
    return f"ecad/{path.relative_to(results_folder().resolve()).as_posix()}"
