"""`python -m tools.try_it_yourself`: run questions, print what comes out, keep it or compare it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from bn_tutorial.lesson import spread  # first: it starts TensorFlow quietly
from tools.try_it_yourself import __doc__ as description
from tools.try_it_yourself.questions import Result, Settings, load_questions
from tools.try_it_yourself.results import differences, read_results, write_results


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    questions = load_questions()
    parser = _parser(list(questions))
    options = parser.parse_args(arguments)
    if (options.save or options.check) and (options.budget != 1 or options.source == "digits"):
        parser.error(
            "what is kept is of full runs on MNIST: leave --budget and --source digits out"
        )
    logging.getLogger("tensorflow").setLevel("ERROR")  # one model after another is traced
    settings = Settings(options.budget, options.source)
    differing = 0
    for number in options.questions or questions:
        print(f"--- {number}: {questions[number].answer.__doc__.splitlines()[0]}", flush=True)
        found = questions[number].answer(settings)
        for name, result in found.items():
            print(f"  {name}: {in_words(result)}", flush=True)
        if options.save:
            write_results(read_results() | {number: found})
        if options.check and questions[number].compared:
            lines = differences(found, read_results().get(number, {}))
            differing += len(lines)
            print("\n".join(lines) or "  as kept")
    return 1 if differing else 0


def in_words(result: Result) -> str:
    """One number, a text, or the numbers of several seeds with their spread."""
    if isinstance(result, list) and len(result) > 1:
        return f"{spread(result, '{:.4g}')}  ({', '.join(f'{value:.4g}' for value in result)})"
    if isinstance(result, str):
        return result
    return "{:.4g}".format(*result) if isinstance(result, list) else f"{result:.4g}"


def _parser(numbers: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.try_it_yourself",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("questions", nargs="*", metavar="NN.M", type=_one_of(numbers))
    parser.add_argument("--budget", type=float, default=1.0, help="a factor on the steps")
    parser.add_argument("--source", choices=["auto", "mnist", "digits"], default="auto")
    parser.add_argument("--save", action="store_true", help="into results.json")
    parser.add_argument("--check", action="store_true", help="against results.json")
    return parser


def _one_of(numbers: list[str]):  # noqa: ANN202
    def number(text: str) -> str:
        if text not in numbers:
            raise argparse.ArgumentTypeError(f"expected one of {', '.join(numbers)}; found {text}")
        return text

    return number


if __name__ == "__main__":
    sys.exit(main())
