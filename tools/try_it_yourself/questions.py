"""A question as a function, and the settings that it runs with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from bn_tutorial.lesson import within_budget  # first: it starts TensorFlow quietly
from bn_tutorial.mnist import Datasets, load_mnist

CHAPTERS = ("01", "02", "03", "04", "05", "06", "07", "08")
SEED, BATCH_SIZE, LEARNING_RATE = 0, 60, 0.01  # the same in all notebooks, but for chapter 6

Result = float | str | list[float]
Results = dict[str, Result]


@dataclass(frozen=True)
class Settings:
    """How much to do, and on what.

    Attributes:
        budget: a factor on the number of steps, as in the notebooks.
        source: of the digits, as in `load_mnist`.
        most_seeds: no question takes more.
    """

    budget: float = 1.0
    source: str = "auto"
    most_seeds: int = 100

    def load(self, seed: int = SEED) -> Datasets:
        """The digits anew, so that the batches are those of the notebook."""
        return load_mnist(source=self.source, seed=seed)

    def steps(self, steps: int, multiple: int = 50) -> int:
        """So many, within the budget."""
        return within_budget(steps, self.budget, multiple)

    def seeds(self, count: int) -> range:
        """The first so many, or as many as are allowed."""
        return range(SEED, SEED + min(count, self.most_seeds))


@dataclass(frozen=True)
class Question:
    """What `question` has been given.

    Attributes:
        number: of the chapter and of the question in it, such as "01.2".
        answer: runs it.
        compared: whether `--check` compares the results; not what depends on the moment.
    """

    number: str
    answer: Callable[[Settings], Results]
    compared: bool


QUESTIONS: dict[str, Question] = {}


def question(number: str, compared: bool = True) -> Callable:
    """Enter a function as the answer to a question; see `Question`."""

    def enter(answer: Callable[[Settings], Results]) -> Callable[[Settings], Results]:
        QUESTIONS[number] = Question(number, answer, compared)
        return answer

    return enter


def load_questions() -> dict[str, Question]:
    """All of them, in order."""
    for chapter in CHAPTERS:
        import_module(f"tools.try_it_yourself.chapter_{chapter}")
    return dict(sorted(QUESTIONS.items()))
