"""``pt2``: the model of a run as a program of torch's own, which needs none of the code that it was written in."""

from __future__ import annotations

from optimctl.export.notes import notes
from optimctl.export.source import Source, exporter


@exporter(needs="run", binary=True)
def export_pt2(source: Source) -> bytes:
    """The model of a run's checkpoint as a program for inference, made by torch.export: on the CPU, with any batch size.

    torch.export.load reads it, without optimctl and without the model's own code. It gives the predictions that the run's validation
    is about, with averaged weights where there are some. An example of the model's inputs is taken from the job's data, as the task
    calls the model with it. The job and its versions are in the file's extra files.
    """
    from optimctl.export.program import make_program

    described = {f"optimctl.{name}": text for name, text in notes(source).items()}
    file, apart = make_program(source.job, source.weights.state, described)
    if apart:
        source.tell(f"note: on the example, the program's outputs are up to {apart:.2g} from the model's own")
    return file
