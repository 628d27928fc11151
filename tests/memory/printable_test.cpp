#include "memory/printable.h"

#include <doctest/doctest.h>

#include <string>

namespace sluice {

TEST_CASE("printable: text stays as it is, and what could harm a terminal doesn't") {
  CHECK(printable("blk.0.attn_q.weight") == "blk.0.attn_q.weight");
  CHECK(printable("\xe4\xbd\xa0 \xc3\xa9 \xf0\x9f\x98\x80") ==
        "\xe4\xbd\xa0 \xc3\xa9 \xf0\x9f\x98\x80");
  CHECK(printable("a\x1b[31m\r\n\t") == "a\\x1b[31m\\x0d\\x0a\\x09");
  CHECK(printable(std::string_view("\0\x7f", 2)) == "\\x00\\x7f");
  CHECK(printable("\xc2\x9b") == "\\xc2\\x9b");           // CSI as one character
  CHECK(printable("\xe2\x80\xae") == "\\xe2\\x80\\xae");  // right-to-left override
  CHECK(printable("\xe2\x80\xa8") == "\\xe2\\x80\\xa8");  // line separator
}

TEST_CASE("printable: what isn't UTF-8 is shown byte by byte") {
  CHECK(printable("\xff\xfe") == "\\xff\\xfe");
  CHECK(printable("\xc3") == "\\xc3");
  CHECK(printable("\xc1\x81") == "\\xc1\\x81");                    // "A", longer than it need be
  CHECK(printable("\xed\xa0\x80") == "\\xed\\xa0\\x80");           // half a surrogate pair
  CHECK(printable("\xf4\x90\x80\x80") == "\\xf4\\x90\\x80\\x80");  // past U+10FFFF
  CHECK(printable("a\xe2\x82"
                  "b") ==
        "a\\xe2\\x82"
        "b");
}

TEST_CASE("printable: what is long is cut, at a whole character") {
  CHECK(printable(std::string(64, 'n')) == std::string(64, 'n'));
  CHECK(printable(std::string(65, 'n')) == std::string(64, 'n') + "...");
  CHECK(printable("\xc3\xa9\xc3\xa9\xc3\xa9", 3) == "\xc3\xa9\xc3\xa9...");
}

}  // namespace sluice
