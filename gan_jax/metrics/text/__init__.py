"""Metrics of generated text: BLEU, self-BLEU, distinct n-grams, copies, MAUVE, likelihoods; each under a named protocol."""

from __future__ import annotations

from gan_jax.metrics.text.bleu import corpus_bleu, pool_bleu, scores, self_bleu, sentence_bleu
from gan_jax.metrics.text.copies import Copies, copies
from gan_jax.metrics.text.distinct import Distinct, distinct, length_distance, unique_share
from gan_jax.metrics.text.evaluate import TextEvaluation, evaluate_texts, text_protocol
from gan_jax.metrics.text.likelihood import Likelihood, likelihood
from gan_jax.metrics.text.matches import Matches, own_matches, pool_matches, self_matches
from gan_jax.metrics.text.mauve import Mauve, curve_area, divergence_curve, frontier_integral, mauve, mauve_of_counts
from gan_jax.metrics.text.protocol import TextProtocol
from gan_jax.metrics.text.sacre import SacreBleu, sacre_bleu
from gan_jax.metrics.text.tokens import TOKENISERS, Texts, read_texts, tokenise_13a
from gan_jax.metrics.text.tradeoff import CurvePoint, dominated_area, dominated_share, dominates, front

__all__ = [
    "TOKENISERS",
    "Copies",
    "CurvePoint",
    "Distinct",
    "Likelihood",
    "Matches",
    "Mauve",
    "SacreBleu",
    "TextEvaluation",
    "TextProtocol",
    "Texts",
    "copies",
    "corpus_bleu",
    "curve_area",
    "distinct",
    "divergence_curve",
    "dominated_area",
    "dominated_share",
    "dominates",
    "evaluate_texts",
    "front",
    "frontier_integral",
    "length_distance",
    "likelihood",
    "mauve",
    "mauve_of_counts",
    "own_matches",
    "pool_bleu",
    "pool_matches",
    "read_texts",
    "sacre_bleu",
    "scores",
    "self_bleu",
    "self_matches",
    "sentence_bleu",
    "text_protocol",
    "tokenise_13a",
    "unique_share",
]
