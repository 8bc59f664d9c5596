"""What scoring scripts import of Azure's inference server, for where it is not installed.

It is at the end of a scoring process's path of modules, so that the real package goes before it; it imports the
standard library only. Source: azureml-inference-server-http 1.4.
"""
