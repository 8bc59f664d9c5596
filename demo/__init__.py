"""What this repository starts on your own machine: the demonstration, the lasting stack, the chaos run."""
