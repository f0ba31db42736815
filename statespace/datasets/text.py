"""Text: a stream of characters, surnames of eighteen languages, pairs of sentences."""

import torch
from torch import Tensor

from statespace.datasets.folder import locate

__all__ = ["eng_fra", "names", "tiny_shakespeare"]


def tiny_shakespeare() -> tuple[Tensor, str]:
    """Forty thousand lines of Shakespeare as a stream of characters.

    Read from `tinyshakespeare.txt` in the folder that `STATESPACE_DATA` names.

    Returns:
        The characters as numbers, `(T, 1)`, int64, and the alphabet: number k stands for
        `alphabet[k]`.

    Raises:
        DataError: The file is not there.

    Source:
        A. Karpathy (2015), The unreasonable effectiveness of recurrent neural networks.
    """
    path = locate(
        "tinyshakespeare.txt",
        "Fetch data/tinyshakespeare/input.txt from the repository karpathy/char-rnn and put it "
        "there under this name.",
    )
    text = path.read_text(encoding="utf-8")
    alphabet = "".join(sorted(set(text)))
    number = {letter: k for k, letter in enumerate(alphabet)}
    return torch.tensor([number[letter] for letter in text], dtype=torch.int64)[:, None], alphabet


def names() -> dict[str, list[str]]:
    """Surnames by language, with their accents.

    Read from the folder `names` (one file per language, one name per line) in the folder that
    `STATESPACE_DATA` names.

    Returns:
        For each language, in alphabetical order, its names in the order of the file.

    Raises:
        DataError: The folder is not there.

    Source:
        S. Robertson, NLP from scratch: classifying names with a character-level RNN, PyTorch
        tutorials.
    """
    folder = locate(
        "names",
        "Fetch data.zip of the PyTorch tutorial on classifying names and put its folder "
        "data/names there.",
    )
    return {
        path.stem: [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        for path in sorted(folder.glob("*.txt"))
    }


def eng_fra() -> list[tuple[str, str]]:
    """Short English sentences with their French translations, in lower case without accents.

    Read from `eng_fra_small.tsv` (English, tab, French) in the folder that `STATESPACE_DATA`
    names.

    Returns:
        The pairs (English, French), in the order of the file.

    Raises:
        DataError: The file is not there.

    Source:
        The Tatoeba project, as prepared for S. Robertson, NLP from scratch: translation with a
        sequence to sequence network and attention, PyTorch tutorials.
    """
    path = locate(
        "eng_fra_small.tsv",
        "Fetch data.zip of the PyTorch tutorial on sequence to sequence translation and store the "
        "short sentences of data/eng-fra.txt, in lower case without accents, under this name.",
    )
    pairs = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return [(english, french) for english, french in pairs]
