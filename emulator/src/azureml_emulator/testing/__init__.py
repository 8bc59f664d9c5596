"""For tests of whatever speaks with Azure ML: a workspace in one line, and a hand on its clock, jobs and faults.

    from azureml_emulator.testing import emulator

    with emulator() as azureml, azureml.workspace() as workspace:
        workspace.control.clock.freeze()
        client = workspace.ml_client()

The fixtures of `azureml_emulator.testing.fixtures` are the same for pytest.
"""

from azureml_emulator.faults import Fault
from azureml_emulator.testing.control import Clock, Control, ControlError
from azureml_emulator.testing.emulators import Emulator, emulator
from azureml_emulator.testing.workspaces import Workspace

__all__ = ["Clock", "Control", "ControlError", "Emulator", "Fault", "Workspace", "emulator"]
