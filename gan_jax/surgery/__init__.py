"""Surgery on parameter trees: plan from shapes, print, then transplant."""

from gan_jax.surgery.families import pair_rules
from gan_jax.surgery.families.cross import pair_notes
from gan_jax.surgery.measure import Difference, measure, measure_pair, resize_images
from gan_jax.surgery.ops import OPS, Op
from gan_jax.surgery.ops.basic import OpError
from gan_jax.surgery.plan import Action, Plan, PlanEntry, PlanError
from gan_jax.surgery.planner import compose, make_plan
from gan_jax.surgery.state import plan_state, transplant_state
from gan_jax.surgery.transplant import Report, transplant

__all__ = [
    "OPS",
    "Action",
    "Difference",
    "Op",
    "OpError",
    "Plan",
    "PlanEntry",
    "PlanError",
    "Report",
    "compose",
    "make_plan",
    "measure",
    "measure_pair",
    "pair_notes",
    "pair_rules",
    "plan_state",
    "resize_images",
    "transplant",
    "transplant_state",
]
