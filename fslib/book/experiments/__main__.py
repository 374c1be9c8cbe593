"""The command line."""

from fslib.book.experiments import main

if __name__ == "__main__":
    main()
