"""Programs for whoever changes the project. None of them is installed or published."""
