"""What can be wrong with batch normalization, in the words of those who met it.

The threads were read: each reports the symptom. Most are about older Keras, where some had other
causes as well; the tests of `examine` rebuild each ailment with today's.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Ailment:
    """One kind of trouble.

    Attributes:
        kind: its name.
        title: what one would search for.
        symptom: what one sees.
        quantity: what is measured, with its unit.
        cause: why it is so.
        remedy: what to do.
        code: the remedy in Keras, or the first of several; `recalibrate` is this package's.
        chapter: the notebook that shows it, without its suffix.
        section: the heading there.
        threads: where people report it, as "owner/repository#number".
    """

    kind: str
    title: str
    symptom: str
    quantity: str
    cause: str
    remedy: str
    code: str
    chapter: str
    section: str
    threads: tuple[str, ...]

    @property
    def links(self) -> str:
        """The threads, as links in Markdown."""
        return ", ".join(
            f"[{thread}](https://github.com/{thread.replace('#', '/issues/')})"
            for thread in self.threads
        )


AILMENTS = {
    ailment.kind: ailment
    for ailment in [
        Ailment(
            "invalid-statistics",
            "predict returns NaN, although training went well",
            "moving_mean or moving_variance is NaN, or a variance is negative; predict returns "
            "NaN, evaluate a NaN loss",
            "moving statistics that are NaN, infinite or a negative variance",
            "A batch with NaN, infinite or huge values went through the layer in training, and a "
            "moving average never forgets a NaN. A negative variance comes from an older program "
            "that computed it as E[x²] − E[x]², or from weights that were edited.",
            "Remove such samples, and train from a checkpoint before them or recalibrate.",
            "recalibrate(model, training_data)",
            "02_fixed_batch_norm",
            "Two kinds of statistics",
            ("keras-team/keras#9646", "tensorflow/tensorflow#34062"),
        ),
        Ailment(
            "never-updated",
            "moving_mean stays 0 and moving_variance 1 after training",
            "moving_mean is all 0 and moving_variance all 1 after training; good loss in training, "
            "random answers from predict",
            "optimizer steps without an update (0: not known)",
            "No training step called the layer with training=True: a loop of one's own left it "
            "out, the layer was frozen before its first step, or only the trained weights were "
            "restored.",
            "Call model(inputs, training=True) in the training step, and freeze a layer only "
            "after it has seen data; then train, or recalibrate it while it is not frozen.",
            "logits = model(images, training=True)  # in the training step",
            "02_fixed_batch_norm",
            "The same in Keras",
            ("tensorflow/tensorflow#11965", "tensorflow/tensorflow#32864", "keras-team/keras#6752"),
        ),
        Ailment(
            "batch-at-inference",
            "the model gives the same answer to every single sample",
            "the answer for a sample depends on the others in its batch; a single sample always "
            "gets the same answer",
            "values a channel in the largest batch that normalised itself",
            "The layer is always called with training=True. In a layer or a model of your own, and "
            "wherever a functional model is called as model(x), the moving statistics are then "
            "never used, and every prediction moves them.",
            "Leave the `training` argument out (Keras passes it on by itself), or pass on that of "
            "`call`.",
            "x = keras.layers.BatchNormalization()(x)  # and not (x, training=True)",
            "01_naive_batch_norm",
            "One sample at a time",
            ("keras-team/keras#3078", "tensorflow/tensorflow#32544"),
        ),
        Ailment(
            "shared-between-distributions",
            "good in training, bad in evaluation, and recalibrating does not help",
            "good in training, bad in evaluation, although the moving statistics are up to date; "
            "recalibrating does not help",
            "distance between the inputs of the layer's calls, where 1 is still harmless "
            "(0.5 standard deviations, or a variance twice as large)",
            "One BN layer is called in several places whose values are distributed differently. In "
            "training each call is normalised by its own batch; at inference all share one mean "
            "and one variance, which fit none of them.",
            "Make a BN layer for each place; the layers around it may stay shared.",
            "norms = [keras.layers.BatchNormalization() for _ in places]",
            "06_your_own_model",
            "A discriminator good in training, bad in evaluation: two distributions in turn",
            ("keras-team/keras#8794", "junyanz/pytorch-CycleGAN-and-pix2pix#1005"),
        ),
        Ailment(
            "tiny-batch",
            "the loss does not fall with a batch size of 1 or 2",
            "the loss jumps or never falls with batch size 1 or 2; validation loss fluctuates",
            "values a channel in a batch",
            "Mean and variance of a channel are taken from so few values that they are noise. "
            "With one value, normalising leaves 0.",
            "Use larger batches, GroupNormalization or LayerNormalization, or renorm=True.",
            "x = keras.layers.GroupNormalization(groups=8)(x)",
            "04_statistics_at_test_time",
            "Small batches",
            ("keras-team/keras#8982", "keras-team/keras#8837"),
        ),
        Ailment(
            "slow-momentum",
            "validation accuracy stays at chance for the first epochs",
            "validation accuracy stays far below training accuracy, in the first epochs often at "
            "chance",
            "share of the initial values still in the moving statistics (momentum ** iterations)",
            "The moving statistics keep `momentum` of themselves at each step; there were too few "
            "steps to forget where they started.",
            "Train longer, lower momentum (0.9), or recalibrate after training.",
            "x = keras.layers.BatchNormalization(momentum=0.9)(x)",
            "02_fixed_batch_norm",
            "Exponential smoothing",
            ("keras-team/keras#10666", "tensorflow/tensorflow#1122"),
        ),
        Ailment(
            "dropout-before",
            "validation loss far above training loss, with dropout before BatchNormalization",
            "accuracy is lower in evaluation than without dropout; validation loss far above "
            "training loss",
            "variance of BN's inputs with dropout, over that without",
            "Dropout raises the variance that BN sees in training, and is off afterwards: the "
            "moving variance is that of other data (variance shift, Li et al., 2018).",
            "Put dropout after the last BN layer, lower its rate, or recalibrate.",
            "x = keras.layers.Dropout(0.5)(x)  # after the last BatchNormalization",
            "05_real_layers",
            "Where it goes",
            ("keras-team/keras#12851", "luigibonati/mlcolvar#205"),
        ),
        Ailment(
            "lagging",
            "fit and evaluate disagree on the same data",
            "loss and accuracy differ between fit and evaluate on the same data",
            "",
            "The moving statistics are not those of this data: they are of older weights, of "
            "another data set, or of data prepared in another way.",
            "Recalibrate on the training data; prepare new data as the training data were.",
            "recalibrate(model, training_data)",
            "04_statistics_at_test_time",
            "Good in training, bad in evaluation",
            ("keras-team/keras#7265", "keras-team/keras#10214"),
        ),
        Ailment(
            "frozen-after-compile",
            "trainable = False has no effect",
            "trainable = False has no effect: the layer's weights still change in fit",
            "variables whose state differs from what fit was built with",
            "`trainable` was changed after fit had built its training step; fit goes on with the "
            "old one until the model is compiled again.",
            "Call model.compile(...) after changing `trainable`.",
            "layer.trainable = False\nmodel.compile(optimizer, loss)",
            "06_your_own_model",
            "Fine-tuning: freeze batch normalization or not?",
            ("keras-team/keras#6405", "keras-team/keras#22413"),
        ),
        Ailment(
            "frozen-affine",
            "BatchNormalization changes although gamma and beta are frozen",
            "BatchNormalization still changes although its weights are frozen; a frozen model "
            "gives other answers after fine-tuning",
            "frozen variables of gamma and beta",
            "gamma and beta are frozen, but layer.trainable is True: batches are still normalised "
            "by their own statistics, and the moving statistics still move.",
            "Set layer.trainable = False on the layer itself, and compile again.",
            "layer.trainable = False\nmodel.compile(optimizer, loss)",
            "06_your_own_model",
            "Fine-tuning: freeze batch normalization or not?",
            ("keras-team/keras#4762", "keras-team/keras#6570"),
        ),
        Ailment(
            "epsilon-dominates",
            "the outputs of BatchNormalization have a standard deviation far below 1",
            "BatchNormalization gives outputs with a standard deviation far below 1 for small "
            "inputs",
            "epsilon over the variance of the data (median of the channels)",
            "epsilon is added to the variance; where the variance is no larger, the layer no "
            "longer normalises to standard deviation 1.",
            "Scale the inputs up, or lower epsilon (1e-5 in PyTorch, 1e-3 in Keras).",
            "x = keras.layers.BatchNormalization(epsilon=1e-5)(x)",
            "01_naive_batch_norm",
            "A tiny example",
            ("tensorflow/tensorflow#33027", "gzuidhof/nn-transfer#3"),
        ),
        Ailment(
            "dead-channel",
            "some channels give the same value for every input",
            "some channels give the same value for every input; constant features",
            "channels without variance or with gamma near 0",
            "The data of the channel never vary (a constant pixel, a dead ReLU), or gamma is 0, "
            "shrunk to it or never moved away from it: what leaves is beta, whatever comes in.",
            "Prune the channel; no weight decay on gamma, a lower learning rate, no ReLU before "
            "BN; start gamma at 0 only where a shortcut goes around the layer.",
            'optimizer.exclude_from_weight_decay(var_names=["gamma"])',
            "09_claims",
            "What does weight decay do?",
            ("Eric-mingjie/network-slimming#46", "pytorch/pytorch#5410"),
        ),
        Ailment(
            "mode-gap",
            "training=True and predict disagree, although the moving statistics are up to date",
            "model(x, training=True) and model.predict(x) disagree; accuracy falls in evaluation "
            "though the moving statistics are up to date",
            "",
            "Single batches differ from all the data together (sorted by class, real and fake "
            "apart), so their statistics tell what the moving statistics can't.",
            "Shuffle before batching, so that each batch is a sample of all the data.",
            "dataset = dataset.shuffle(len(images)).batch(60, drop_remainder=True)",
            "04_statistics_at_test_time",
            "Who shares your batch?",
            ("keras-team/keras#6977", "keras-team/keras#6014"),
        ),
        Ailment(
            "useless-bias",
            "does the layer before BatchNormalization need a bias?",
            "the bias of the layer before BatchNormalization never matters",
            "parameters without effect",
            "BN subtracts the mean, and with it whatever bias was added; beta does its work.",
            "use_bias=False in the layer before BN.",
            "x = keras.layers.Dense(100, use_bias=False)(x)",
            "01_naive_batch_norm",
            "Two networks, the same weights",
            ("keras-team/keras-cv#697", "matterport/Mask_RCNN#1455"),
        ),
    ]
}
