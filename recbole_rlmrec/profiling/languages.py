"""Which language a text is in, told by its script and its commonest words."""

from __future__ import annotations

import re
from collections import Counter

FEWEST_WORDS = 15
FEWEST_HITS = 3
_COMMON = {
    "english": "the and of to in is for with that who are this or their from as by it be on",
    "german": "der die und das den von mit f\u00fcr ist sich dem nicht ein eine die auf auch wer im zu",
    "french": "le la les et des une est pour qui dans avec sur par du aux ces ceux plus pas en",
    "spanish": "el la los las y de que en una para con por es del se como m\u00e1s su al quienes",
    "italian": "il la che di e per una con del sono gli nella anche chi dei delle pi\u00f9 si al alla",
    "portuguese": "o os as e de que para com uma em n\u00e3o por dos das mais ao quem se do da",
    "dutch": "de het een en van voor met dat die zijn op niet ook aan wie door of bij naar te",
    "swedish": "och att det som en f\u00f6r med \u00e4r av till p\u00e5 den inte om de eller ett fr\u00e5n har vill",
    "danish": "og at det som en for med er af til p\u00e5 den ikke om de eller et fra har vil der",
    "polish": "i w na z do \u017ce si\u0119 jest dla nie kt\u00f3rzy oraz to od po jak kt\u00f3re przez lub tych",
    "turkish": "ve bir bu i\u00e7in ile olan da de \u00e7ok gibi olarak daha en veya seven kadar ya her ne ise",
    "indonesian": "yang dan di untuk dengan ini dari pada adalah atau itu juga tidak bagi akan oleh lebih serta",
    "vietnamese": "v\u00e0 c\u1ee7a cho nh\u1eefng c\u00e1c l\u00e0 v\u1edbi m\u1ed9t kh\u00f4ng ng\u01b0\u1eddi n\u00e0y",
}
_SCRIPTS = {
    "russian": "[\u0400-\u04ff]",
    "greek": "[\u0370-\u03ff]",
    "hebrew": "[\u0590-\u05ff]",
    "arabic": "[\u0600-\u06ff]",
    "hindi": "[\u0900-\u097f]",
    "thai": "[\u0e00-\u0e7f]",
    "korean": "[\uac00-\ud7af]",
    "japanese": "[\u3040-\u30ff]",
    "chinese": "[\u4e00-\u9fff]",
}
_NAMES = {
    "deutsch": "german",
    "fran\u00e7ais": "french",
    "espa\u00f1ol": "spanish",
    "castellano": "spanish",
    "italiano": "italian",
    "portugu\u00eas": "portuguese",
    "nederlands": "dutch",
    "svenska": "swedish",
    "dansk": "danish",
    "polski": "polish",
    "t\u00fcrk\u00e7e": "turkish",
    "bahasa": "indonesian",
    "ti\u1ebfng": "vietnamese",
    "\u0440\u0443\u0441\u0441\u043a\u0438\u0439": "russian",
    "mandarin": "chinese",
    "\u4e2d\u6587": "chinese",
    "\u65e5\u672c\u8a9e": "japanese",
    "\ud55c\uad6d\uc5b4": "korean",
    "persian": "arabic",
    "ukrainian": "russian",
    "bulgarian": "russian",
}
_WORD = re.compile(r"\b[^\W\d_]+\b")  # no letters of an id such as i13


def known_language(name: str) -> str | None:
    """The language that a domain names, in its own or the English word for it; None where it cannot be told from others."""
    for word in _WORD.findall(name.lower()):
        word = _NAMES.get(word, word)
        if word in _COMMON or word in _SCRIPTS:
            return word
    return None


def language_of(text: str) -> str | None:
    """The language of a text; None for a short text or one in no language known here. Scripts go by one of theirs."""
    letters = max(sum(map(str.isalpha, text)), 1)
    for language, pattern in _SCRIPTS.items():
        if len(re.findall(pattern, text)) > (0.1 if language == "japanese" else 0.4) * letters:
            return language
    words = Counter(_WORD.findall(text.lower()))
    if sum(words.values()) < FEWEST_WORDS:
        return None
    hits = {language: sum(words[word] for word in set(common.split())) for language, common in _COMMON.items()}
    best = max(hits, key=lambda language: hits[language])
    return best if hits[best] >= FEWEST_HITS else None


def is_in(text: str, language: str) -> bool | None:
    """Whether a text is in a language of :func:`known_language`; None where that cannot be told."""
    found = language_of(text)
    return None if found is None else found == language
