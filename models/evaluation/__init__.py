"""Measures what a model is worth: baselines, comparisons, ablation, explanations, drift, reports.

`evaluate` runs a model and its baselines on the same cases and `metrics` defines what is counted;
every comparison comes with an interval. `reliability` asks whether the probabilities of updates
mean what they say. The room `reports` turns what was measured into tables and pages. Nothing in
here is needed to serve. The package `stream` imports only the names that are offered here; those
that need PyTorch are loaded when they are first asked for, so that a table can be printed without
it. Begin with `metrics`, then `evaluate`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from models.evaluation.drift import (
    COUNTER_HALF_LIVES,
    COUNTER_WINDOWS,
    SimulationRates,
    TrackerDrift,
    best_tracker,
    decayed_counters,
    filtered_beliefs,
    measure_tracker,
    most_probable,
    window_counts,
)
from models.evaluation.interest_baselines import touched_rows
from models.evaluation.published import Prediction, UserLog, measure_predictions
from models.evaluation.reports.page import drift_page, evaluation_page, to_html
from models.evaluation.reports.results import result_tables
from models.evaluation.reports.studies import (
    ablation_table,
    comparison_table,
    drift_tables,
    explanations_table,
    membership_table,
)
from models.evaluation.reports.table import Table
from models.evaluation.reports.training import (
    calibration_words,
    preparation_tables,
    reasons,
    trials_table,
)

if TYPE_CHECKING:
    from models.evaluation.ablation import measure_ablation
    from models.evaluation.compare import compare_models
    from models.evaluation.evaluate import EvaluatedModel, evaluate_model
    from models.evaluation.explanations import measure_faithfulness
    from models.evaluation.membership import measure_membership
    from models.evaluation.sample_cases import describe_sample_cases
    from models.evaluation.synthetic_catalogue import synthetic_model, wandering_users

__all__ = [
    "COUNTER_HALF_LIVES",
    "COUNTER_WINDOWS",
    "EvaluatedModel",
    "Prediction",
    "SimulationRates",
    "Table",
    "TrackerDrift",
    "UserLog",
    "ablation_table",
    "best_tracker",
    "calibration_words",
    "compare_models",
    "comparison_table",
    "decayed_counters",
    "describe_sample_cases",
    "drift_page",
    "drift_tables",
    "evaluate_model",
    "evaluation_page",
    "explanations_table",
    "filtered_beliefs",
    "measure_ablation",
    "measure_faithfulness",
    "measure_membership",
    "measure_predictions",
    "measure_tracker",
    "membership_table",
    "most_probable",
    "preparation_tables",
    "reasons",
    "result_tables",
    "synthetic_model",
    "to_html",
    "touched_rows",
    "trials_table",
    "wandering_users",
    "window_counts",
]

_WITH_TORCH: Final = {
    "EvaluatedModel": "evaluate",
    "compare_models": "compare",
    "describe_sample_cases": "sample_cases",
    "evaluate_model": "evaluate",
    "measure_ablation": "ablation",
    "measure_faithfulness": "explanations",
    "measure_membership": "membership",
    "synthetic_model": "synthetic_catalogue",
    "wandering_users": "synthetic_catalogue",
}
"""Offered names whose files import PyTorch, which takes longer than all the rest."""


def __getattr__(name: str) -> Any:
    """Imports the file in which an offered name is defined, the first time it is asked for."""
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WITH_TORCH[name]}"), name)
