"""Surgery on parameter trees: plan from shapes, print, then transplant."""

from gan_jax.surgery.arrays import OpError
from gan_jax.surgery.ops import OPS, Op
from gan_jax.surgery.plan import Entry, Move, Plan, PlanError
from gan_jax.surgery.planner import make_plan
from gan_jax.surgery.transplant import Report, transplant

__all__ = ["OPS", "Entry", "Move", "Op", "OpError", "Plan", "PlanError", "Report", "make_plan", "transplant"]
