"""What may be made of a policy's estimate in a world model: how well such estimates ranked policies where their returns
are known (docs/experiments.md, *estimates without the environment*).

A module of its own, so that a page can say it without loading what estimates.
"""

TRUST = {  # by whether the log said that its dynamics are linear
    True: (
        "The dynamics of this log are linear. On the two such logs of our benchmark these estimates ranked 36 policies"
        " as their environments did, with a correlation of 0.92 and 0.93."
    ),
    False: (
        "Do not choose a policy by these estimates: the dynamics of this log are not linear. On three such logs of our"
        " benchmark they ranked policies with a correlation of -0.81, -0.18 and 0.43: those that leave the log look"
        " best. They say how policies do where the model is right."
    ),
}
