"""A two-player game as one environment, in which both players' moves are env_steps."""

from __future__ import annotations

from efficientzero.envs.batch import EnvStep, SingleEnv
from efficientzero.envs.contract import ContractViolation
from efficientzero.envs.games.turn_game import NUM_PLAYERS, TurnGame
from efficientzero.schema import Frames


class TurnGameEnv(SingleEnv):
    """Rewards are those of the player who moved; frames are for the player to move."""

    has_legal_actions = True
    num_players = NUM_PLAYERS

    def __init__(self, game: TurnGame, *, max_episode_steps: int) -> None:
        """Take over ``game``; ``max_episode_steps`` moves cut it, 0: never."""
        self.game = game
        """In the newest position."""
        self.frame_shape, self.frame_dtype = game.frame_shape, game.frame_dtype
        self.num_actions = game.num_actions
        limits = [limit for limit in (max_episode_steps, game.max_length) if limit]
        self.time_limit = min(limits, default=0)
        self._max_episode_steps, self._num_steps = max_episode_steps, 0
        self.reset()

    def reset(self) -> Frames:
        """Set the game up."""
        self.game.reset()
        self._num_steps = 0
        return self._shown()

    def step(self, action: int) -> EnvStep:
        """Make the move of the player to move.

        Raises:
            ContractViolation: the same player is to move again.
        """
        mover = self.game.to_play()
        reward = self.game.play(action)
        if self.game.to_play() == mover:
            raise ContractViolation(
                f"moves must alternate: player {mover} is to move twice, and the search takes it "
                "that every move is followed by one of the opponent"
            )
        self._num_steps += 1
        over = self.game.is_over()
        cut = self._num_steps == self._max_episode_steps and not over
        return EnvStep(self._shown(), reward, over, cut, game_over=over or cut)

    def close(self) -> None:
        """Nothing is held."""

    def _shown(self) -> Frames:
        self.legal_actions = self.game.legal_actions()
        self.to_play = self.game.to_play()
        return self.game.observation()
