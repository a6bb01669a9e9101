"""The pack's own link types: what travels between its nodes."""

from __future__ import annotations

from comfy_api.latest import io

ScheduleType = io.Custom("ECAD_SCHEDULE")  # ecad_search.core.schedule.Schedule
FrontType = io.Custom("ECAD_FRONT")  # ecad_search.core.front.Front
CalibrationType = io.Custom("ECAD_CALIBRATION")  # nodes.host.rendering.EncodedCalibration
SamplerSettingsType = io.Custom("ECAD_SAMPLER_SETTINGS")  # nodes.host.rendering.SamplerSettings
FeaturesType = io.Custom("ECAD_FEATURES")  # nodes.host.benchmark.SeesFeatures
ScorerType = io.Custom("ECAD_SCORER")  # ecad_search.scorers.scorer.Scorer
