"""From a job's keys to the rules that end its training."""

from __future__ import annotations

from dbp.jobs.job import Job
from dbp.training.stopping import (
    Finished,
    GradientTolerance,
    LossChange,
    MaxSeconds,
    MaxSteps,
    Patience,
    Requested,
    StoppingRule,
    StopRequest,
    TargetLoss,
)


def stopping_rules(job: Job, stop: StopRequest) -> tuple[StoppingRule, ...]:
    """Return the rules that are on. Where several would end training at one step, the first gives the reason.

    What training reached comes before limits that it ran into; what depends on the machine or on a person comes last.
    """
    options = job.stopping
    rules: list[StoppingRule] = [Finished()]
    if options.target_loss is not None:
        rules.append(TargetLoss(options.target_loss))
    if options.gradient_tolerance is not None:
        rules.append(GradientTolerance(options.gradient_tolerance))
    if options.loss_change is not None:
        rules.append(LossChange(options.loss_change, options.loss_change_steps))
    if options.patience is not None:
        rules.append(Patience(options.patience))
    rules.append(MaxSteps(job.training.max_steps))
    if options.max_seconds is not None:
        rules.append(MaxSeconds(options.max_seconds))
    return (*rules, Requested(stop))
