"""The pool of past weights: who is kept, whom the newest weights play, and how strong all are.

Pure state and functions, without a service, a file or a clock.
"""

from learner.weights.league.drawing import Sampling, drawing_probabilities
from learner.weights.league.games import GameTable
from learner.weights.league.ladder import EvaluationGames
from learner.weights.league.league import Drawn, LadderPlace, League, Member
from learner.weights.league.pool import member_to_evict
from learner.weights.league.ratings import Ratings, rate

__all__ = [
    "Drawn",
    "EvaluationGames",
    "GameTable",
    "LadderPlace",
    "League",
    "Member",
    "Ratings",
    "Sampling",
    "drawing_probabilities",
    "member_to_evict",
    "rate",
]
