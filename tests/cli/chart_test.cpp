// Pictures: round ticks, escaped text, well-formed files, labels that keep clear of each other.
#include "cli/chart.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "tests/support/xml.h"

using namespace sluice;
using testing::count_of;
using testing::xml_fault;

TEST_CASE("chart: ticks are round, cover the data, and are no more than asked for") {
  std::mt19937 random(11);
  for (int round = 0; round < 2000; ++round) {
    const double low = std::pow(10.0, static_cast<double>(random() % 13) - 6.0) *
                       (static_cast<double>(random() % 1000) / 100.0);
    const double high = low + std::pow(10.0, static_cast<double>(random() % 13) - 6.0) *
                                  (1.0 + static_cast<double>(random() % 900) / 100.0);
    if (high - low < 1e-6 * high) continue;  // as good as one value
    const std::size_t most = 2 + random() % 20;
    const Ticks ticks = make_ticks(low, high, most);
    CAPTURE(low);
    CAPTURE(high);
    CAPTURE(most);
    REQUIRE(ticks.count >= 2);
    REQUIRE(ticks.count <= most);
    const double slack = 1e-6 * ticks.step;
    REQUIRE(ticks.first <= low + slack);
    REQUIRE(ticks.first > low - ticks.step - slack);
    REQUIRE(ticks.last() >= high - slack);
    const double power = std::pow(10.0, std::floor(std::log10(ticks.step * 1.0001)));
    const double digit = ticks.step / power;
    const bool is_round = std::abs(digit - 1.0) < 1e-9 || std::abs(digit - 2.0) < 1e-9 ||
                          std::abs(digit - 5.0) < 1e-9;
    REQUIRE(is_round);
    REQUIRE(std::abs(std::stod(ticks.print(1)) - ticks.value(1)) < slack);
  }
}

TEST_CASE("chart: ticks that one would choose by hand") {
  const auto told = [](double low, double high, std::size_t most) {
    const Ticks ticks = make_ticks(low, high, most);
    std::string all;
    for (std::size_t i = 0; i < ticks.count; ++i) all += ticks.print(i) + " ";
    return all;
  };
  CHECK(told(0, 24, 14) == "0 2 4 6 8 10 12 14 16 18 20 22 24 ");
  CHECK(told(0, 57, 8) == "0 10 20 30 40 50 60 ");
  CHECK(told(0, 0.29, 8) == "0.00 0.05 0.10 0.15 0.20 0.25 0.30 ");
  CHECK(told(7, 7, 8) == "7.0 7.2 7.4 7.6 7.8 8.0 ");
}

TEST_CASE("svg: coordinates have two decimals at most, and never an exponent or a nan") {
  CHECK(print_coordinate(12.0) == "12");
  CHECK(print_coordinate(0.5) == "0.5");
  CHECK(print_coordinate(-3.256) == "-3.26");
  CHECK(print_coordinate(-0.001) == "0");
  CHECK(print_coordinate(100.0) == "100");
  CHECK(print_coordinate(std::numeric_limits<double>::quiet_NaN()) == "0");
  CHECK(print_coordinate(std::numeric_limits<double>::infinity()) == "0");
}

TEST_CASE("svg: text from outside stays text") {
  CHECK(escape_xml("a<b> & \"c\" 'd'") == "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;");
  CHECK(escape_xml("caf\xc3\xa9") == "caf\xc3\xa9");
  CHECK(escape_xml("a\x01\xff") == "a\\x01\\xff");
  CHECK(escape_xml("\xef\xbf\xbf") == "?");
  CHECK(escape_xml(std::string(100'000, 'x')).size() < 200);
}

TEST_CASE("svg: a text that is too long for its place is cut between characters") {
  CHECK(fit_text("short", 10.0, 100.0) == "short");
  for (const char* unit : {"x", "\xc3\xa9", "\xe6\xbc\xa2", "\xf0\x9f\x98\x80"}) {
    std::string text;
    for (int i = 0; i < 30; ++i) text += unit;
    for (double width = 0.0; width < 220.0; width += 3.0) {
      const std::string cut = fit_text(text, 10.0, width);
      CAPTURE(width);
      REQUIRE((cut == text || cut.ends_with("...")));
      const std::size_t kept = cut == text ? cut.size() : cut.size() - 3;
      REQUIRE(kept % std::string(unit).size() == 0);
      REQUIRE((kept == 0 || text_width(cut, 10.0) <= width));
    }
  }
}

TEST_CASE("chart: is well-formed whatever its words and numbers are") {
  std::mt19937 random(5);
  const std::vector<std::string> words = {"",
                                          "a",
                                          "</svg><script>",
                                          "\"&'<>",
                                          "\xff\x00\x1b[31m",
                                          "a very long name of a series that takes much room"};
  const auto word = [&] { return words[random() % words.size()]; };
  for (int round = 0; round < 300; ++round) {
    Chart chart{word(), word(), word(), word(), {}, {}};
    const std::size_t series = random() % 9;
    for (std::size_t i = 0; i < series; ++i) {
      Series s{.name = word(), .points = {}, .line = random() % 2 == 0, .marks = true, .shape = i};
      for (std::size_t p = random() % 5; p > 0; --p) {
        s.points.push_back({static_cast<double>(random() % 1000), 1e-3 * (random() % 100'000)});
      }
      chart.series.push_back(std::move(s));
    }
    for (std::size_t m = random() % 6; m > 0; --m) {
      chart.markers.push_back({static_cast<double>(random() % 1200), word()});
    }
    const std::string svg = draw_chart(chart);
    REQUIRE(xml_fault(svg) == "");
    CHECK(svg.find("nan") == std::string::npos);
    CHECK(svg.find("script>") == std::string::npos);
    CHECK(svg == draw_chart(chart));
  }
}

TEST_CASE("chart: has what it is given: lines, marks, a legend, markers within the axis") {
  Chart chart{.title = "T", .subtitle = "S", .x_title = "X", .y_title = "Y", .series = {}};
  chart.series.push_back({.name = "predicted", .points = {{2, 5}, {4, 9}, {6, 20}}});
  chart.series.push_back(
      {.name = "measured", .points = {{2, 4}, {6, 19}}, .line = false, .marks = true});
  chart.markers = {{3.0, "everything fits: 3 GiB"}, {99.0, "beyond"}};
  const std::string svg = draw_chart(chart);
  CHECK(count_of(svg, "<polyline") == 1);
  CHECK(count_of(svg, "<circle") == 3);  // two points, and the legend's
  CHECK(count_of(svg, "stroke-dasharray") == 1);
  for (const char* words :
       {">predicted<", ">measured<", ">everything fits: 3 GiB<", ">T<", ">S<", ">X<", ">Y<"}) {
    CAPTURE(words);
    CHECK(svg.find(words) != std::string::npos);
  }
  CHECK(svg.find("beyond") == std::string::npos);
}

// Heights of the markers' labels, from left to right: one that is further up has a smaller y.
std::vector<double> label_heights(const std::vector<double>& at) {
  Chart chart{.title = "", .subtitle = "", .x_title = "", .y_title = "", .series = {}};
  chart.series.push_back({.name = "", .points = {{0, 1}, {100, 2}}});
  for (std::size_t i = 0; i < at.size(); ++i) {
    chart.markers.push_back({at[i], "everything fits " + std::to_string(i)});
  }
  const std::string svg = draw_chart(chart);
  std::vector<double> heights;
  for (const ChartMarker& marker : chart.markers) {
    const std::size_t y = svg.rfind(" y=\"", svg.find(">" + marker.label + "<"));
    heights.push_back(std::stod(svg.substr(y + 4)));
  }
  return heights;
}

TEST_CASE("chart: labels of neighbouring markers stand in stairs, and apart in one row") {
  const std::vector<double> right = label_heights({40, 42, 44});
  CHECK(right[0] < right[1]);
  CHECK(right[1] < right[2]);
  const std::vector<double> left = label_heights({90, 94, 98});
  CHECK(left[0] > left[1]);
  CHECK(left[1] > left[2]);
  const std::vector<double> apart = label_heights({10, 40, 70});
  CHECK(apart[0] == apart[1]);
  CHECK(apart[1] == apart[2]);
}

TEST_CASE("xml: the checker sees what is wrong") {
  const std::string prolog = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
  CHECK(xml_fault(prolog + "<a b=\"1\"><c/>x &amp; y</a>\n") == "");
  for (const char* bad : {"<a>", "<a></b>", "<a b=1/>", "<a b=\"1\" b=\"2\"/>", "<a>&</a>",
                          "<a/><b/>", "<a b=\"<\"/>", "<a/>text", "<a"}) {
    CAPTURE(bad);
    CHECK(xml_fault(prolog + bad) != "");
  }
}
