"""The numbers in the answers of *Try it yourself*: each question of the notebooks, run.

    python -m tools.try_it_yourself 01.2                                  one question
    python -m tools.try_it_yourself 01.2 --budget 0.1 --source digits     in short
    python -m tools.try_it_yourself                                       all of them
    python -m tools.try_it_yourself --save 01.2     keep what comes out in results.json
    python -m tools.try_it_yourself --check         does the same come out again? (make test-full)

Prose stands in the notebook, numbers come from here, and `results.json` joins the two. It holds
what a full run on MNIST gave, with the notebook's seeds and parameters. The tests see that
each number in an answer stands there, or in the question; `--check` sees that it comes out again.

To answer a question of a chapter:

1. In `chapter_NN.py` write a function that does what the question asks, with the notebook's names,
   seeds and parameters, and returns the numbers by name; a list is one number for each seed.
   Decorate it: `@question("NN.2")`. A new module's name goes to `questions.CHAPTERS`.
2. `python -m tools.try_it_yourself --save NN.2`, on an idle machine.
3. Write the answer below the question, folded, from the numbers printed.
4. In `tests/test_questions_in_short.py` assert what of it holds on few steps.

A question whose answer has no number, such as "examine a model of your own", needs no function.
"""
