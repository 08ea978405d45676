"""Rewards: what an answer earns in training, and whether it can be had without knowing (`medmvl rewards audit`)."""

from medmvl.rewards.audit import Audit, audit_rewards
from medmvl.rewards.combined import CombinedReward, Earned
from medmvl.rewards.registry import REWARDS, RewardRecipe, build_reward, find_reward
from medmvl.rewards.reward import Reward

__all__ = [
    "REWARDS", "Audit", "CombinedReward", "Earned", "Reward", "RewardRecipe", "audit_rewards", "build_reward", "find_reward",
]  # fmt: skip
