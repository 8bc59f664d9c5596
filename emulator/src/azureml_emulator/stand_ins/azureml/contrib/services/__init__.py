"""The names of azureml-contrib-services."""
