"""The menu: every node of the pack, listed by hand."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from .aesthetic_scorer import AestheticScorer
from .apply_schedule import ApplySchedule
from .benchmark import Benchmark
from .cache_loader import CacheLoader
from .calibration_prompts import CalibrationPromptsNode
from .clip_score_scorer import ClipScoreScorer
from .combine_scorers import CombineScorers
from .compare_images import CompareImages
from .compare_schedules import CompareSchedules
from .demo_model import LoadDemoModel
from .emoji_reward_scorer import EmojiRewardScorer
from .empty_latent import EmptyLatent
from .front_plot import FrontPlot
from .host.paths import IMAGE_REWARD, SCHEDULES, SCORERS
from .host.schedule_editing import add_start_route
from .host.schedule_list import add_routes
from .host.search_snapshots import add_searches_route
from .hps_scorer import HpsScorer
from .image_reward_scorer import ImageRewardScorer
from .import_schedule import ImportSchedule
from .inception_features import InceptionFeatures
from .lpips_scorer import LpipsScorer
from .paper_sigmas import PaperSigmas
from .pick_from_front import PickFromFront
from .pick_score_scorer import PickScoreScorer
from .quick_schedule import QuickSchedule
from .reference_similarity_scorer import ReferenceSimilarityScorer
from .sampler_settings import SamplerSettingsNode
from .save_schedule import SaveSchedule
from .schedule_editor import ScheduleEditor
from .schedule_preview import SchedulePreview
from .search import SearchNode

# In the order of their use. Ids never change: saved workflows name them.
MENU: list[type[io.ComfyNode]] = [
    CacheLoader,
    SchedulePreview,
    LoadDemoModel,
    EmptyLatent,
    PaperSigmas,
    CalibrationPromptsNode,
    SamplerSettingsNode,
    EmojiRewardScorer,
    ReferenceSimilarityScorer,
    ImageRewardScorer,
    PickScoreScorer,
    HpsScorer,
    ClipScoreScorer,
    AestheticScorer,
    LpipsScorer,
    CombineScorers,
    InceptionFeatures,
    QuickSchedule,
    SearchNode,
    CompareSchedules,
    Benchmark,
    FrontPlot,
    PickFromFront,
    SaveSchedule,
    ScheduleEditor,
    ImportSchedule,
    ApplySchedule,
    CompareImages,
]


class EcadExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return MENU


async def comfy_entrypoint() -> ComfyExtension:
    for folder in (SCHEDULES, IMAGE_REWARD, SCORERS):  # before any node's schema lists them
        folder.register()
    add_routes()
    add_start_route()
    add_searches_route()
    return EcadExtension()
