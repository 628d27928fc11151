"""Writes data/lines.json: 2,000 lines of text as varied as Unicode, from a fixed seed.

    python make_lines.py

They are the input of make_tokens.py. Characters newer than Unicode 14 are left out: libraries
disagree about what they are.
"""

import json
import random
import unicodedata
from pathlib import Path

OUT = Path(__file__).parent / "data" / "lines.json"
COUNT = 2000
SPECIALS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<repo_name>", "<|im_start", "<file_sep>>"]

SENTENCES = """The weights wait in host memory and flow through a small window.
It's what they'd've said: we're late, you'll see, I'M sure he's RIGHT, don't 'twas.
Zoë's naïve façade cost €1,299.95 (≈ £1 105) at 10:45 p.m. on 2026-11-21.
Dr. O'Neill e-mailed foo.bar+baz@example.org re: http://example.com/a?b=1&c=%20d#e
C'est l'été; où est-il passé? Ça va, à bientôt… «Qu'est-ce que c'est?»
Der Straßenbahnfahrer aß 3½ Brötchen für 4,20 €. ÄÖÜ äöü ß ẞ
Привет, как дела? Съешь ещё этих мягких французских булок, да выпей чаю.
Η γρήγορη καφέ αλεπού πηδάει πάνω από τον τεμπέλη σκύλο. ΣΊΣΥΦΟΣ ς
我们今天去公园散步,天气真好!他说:“人工智能”很有趣。㊙㍿
吾輩は猫である。名前はまだ無い。カタカナ ｶﾀｶﾅ ひらがな々〆ヶ
안녕하세요 세계! 오늘 날씨가 참 좋네요. 각나다
السلام عليكم ورحمة الله وبركاته، كيف حالك؟ ١٢٣٤٥
שלום עולם! מה שלומך היום? בְּרֵאשִׁית
नमस्ते दुनिया! आप कैसे हैं? १२३ क्षत्रिय
สวัสดีชาวโลก วันนี้อากาศดีมาก ๑๒๓
გამარჯობა მსოფლიო Բարեւ աշխարհ ሰላም ልዑል ជំរាបសួរ வணக்கம் உலகம்
Tôi yêu Việt Nam. Žluťoučký kůň úpěl ďábelské ódy. İstanbul'da ıspanak""".splitlines()

CODE = [
    "def f(x):\n    return [i**2 for i in range(x) if i % 2 == 0]\n",
    "for (int i = 0; i < n; ++i) {\n\ta[i] = b[i] * 0x1F + 1e-9f;  // tabs\n}\n",
    "SELECT * FROM t WHERE a<>'it''s' AND b>=10 ORDER BY c DESC;",
    "\t\t\tif (x != nullptr && *x->y == '\\n') { return -1; }",
    '{"a": [1, 2.50, null], "b": {"c": "\\u00e9"}}',
    "<div class=\"x\" id='y'>&nbsp;&amp;</div>\r\n<br/>\r\n",
    "$ ls -la ~/.config | grep -v '^d' && echo $?; # comment",
    "fn main() -> Result<(), Box<dyn Error>> { let x: &'static str = r#\"\"#; }",
    "a=b+c-d*e/f%g^h&i|j~k!l@m#n$o;p:q,r.s?t`u\\v(w)x[y]z{A}",
    "snake_case camelCase PascalCase SCREAMING_CASE kebab-case x1y2z3 v1.2.3-rc4",
]

EMOJI = ["😀", "👩‍💻", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇫🇷", "🇯🇵🇧🇷", "👍🏽", "👋🏿", "1️⃣", "#️⃣", "❤️", "☺", "🧑🏻‍❤️‍💋‍🧑🏿", "🫠"]

BLANKS = [" ", "  ", "   ", "    ", " " * 7, " " * 8, " " * 16, " " * 33, "\t", "\t\t", "\n", "\n\n", "\r\n",
          "\r", " \n", "\n ", " \t \n\n\t ", "\x0b", "\x0c", "\x85", "\xa0", "\u1680", "\u180e", "\u2000",
          "\u2003\u2003", "\u200a", "\u200b", "\u2028", "\u2029", "\u202f", "\u205f", "\u2060", "\u3000", "\ufeff"]

DIGITS = ["0", "7", "42", "2026", "12345", "1234567890", "3.14159", "1,000,000", "٣٤٥", "१२", "๑๒๓", "²³", "½¾",
          "Ⅷ", "ⅻ", "①②", "〇一二三", "𝟘𝟙", "0x7f", "1e10", "12th", "3D", "9️"]

CONTRACTIONS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'T", "'RE", "'Ve", "'M", "'LL", "'D", "''s",
                "’s", "’re", "'ſ", "'x", " 's", " 'll", "'l", "'r", "'v"]

# Ranges that random characters are drawn from: letters of many scripts, symbols, every plane.
RANGES = [(0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x2FF), (0x370, 0x3FF), (0x400, 0x52F), (0x531, 0x5F4),
          (0x600, 0x6FF), (0x900, 0x97F), (0xB80, 0xBFF), (0xE00, 0xE7F), (0x10A0, 0x10FF), (0x1200, 0x137F),
          (0x1780, 0x17FF), (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x218F), (0x2190, 0x23FF),
          (0x2500, 0x27BF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xF900, 0xFAFF),
          (0xFE00, 0xFFEF), (0x10000, 0x107FF), (0x12000, 0x123FF), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF),
          (0x20000, 0x2A6DF), (0xE000, 0xE0FF), (0xE0000, 0xE007F), (0x100000, 0x1000FF)]


def character(rng, low, high):
    while True:
        c = chr(rng.randint(low, high))
        if unicodedata.category(c) not in ("Cn", "Cs"):
            return c


def word(rng):
    low, high = rng.choice(RANGES)
    return "".join(character(rng, low, high) for _ in range(rng.randint(1, 6)))


def marks(rng):
    base = rng.choice("aeiounAEnоаקκ한が")
    return base + "".join(character(rng, 0x300, 0x36F) for _ in range(rng.randint(1, 5)))


def clause(rng):
    sentence = rng.choice(SENTENCES)
    begin = rng.randrange(len(sentence))
    return sentence[begin : begin + rng.randint(3, 40)]


def snippet(rng):
    code = rng.choice(CODE)
    begin = rng.randrange(len(code))
    return code[begin : begin + rng.randint(4, 40)]


PARTS = [
    (6, clause),
    (3, snippet),
    (3, word),
    (2, marks),
    (2, lambda rng: rng.choice(EMOJI) * rng.randint(1, 2)),
    (4, lambda rng: rng.choice(BLANKS)),
    (3, lambda rng: rng.choice(DIGITS)),
    (2, lambda rng: rng.choice(CONTRACTIONS)),
    (1, lambda rng: chr(rng.choice([*range(0x20), *range(0x7F, 0xA0)]))),
    (1, lambda rng: rng.choice(SPECIALS)),
    (1, lambda rng: "".join(rng.choice("!?.,;:-_=+*/\\|'\"()[]{}<>@#$%^&~`") for _ in range(rng.randint(1, 8)))),
    (1, lambda rng: "".join(character(rng, 0x20, 0x1FFFF) for _ in range(rng.randint(1, 4)))),
]


def line(rng):
    makers = rng.choices([part for _, part in PARTS], [weight for weight, _ in PARTS], k=rng.randint(1, 5))
    glue = rng.choice(["", "", " "])
    return glue.join(make(rng) for make in makers)


def main():
    rng = random.Random(20261121)
    lines = [line(rng) for _ in range(COUNT)]
    OUT.write_text(json.dumps(lines, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
    print(f"{OUT.name}: {COUNT} lines, {sum(map(len, lines))} characters, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
