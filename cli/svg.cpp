#include "cli/svg.h"

#include <cmath>
#include <cstdio>

#include "memory/printable.h"

namespace sluice {
namespace {

constexpr std::size_t kMostTextBytes = 160;

std::string attribute(const char* name, double value) {
  return std::string(" ") + name + "=\"" + print_coordinate(value) + "\"";
}

std::string attribute(const char* name, const char* value) {
  return std::string(" ") + name + "=\"" + value + "\"";
}

std::string point_list(const std::vector<PicturePoint>& points) {
  std::string list;
  for (const PicturePoint& p : points) {
    if (!list.empty()) list += ' ';
    list += print_coordinate(p.x) + "," + print_coordinate(p.y);
  }
  return list;
}

std::string stroke(const LineStyle& style) {
  std::string out = attribute("stroke", style.colour) + attribute("stroke-width", style.width);
  if (style.dashed) out += " stroke-dasharray=\"5 4\"";
  return out;
}

const char* anchor_name(Anchor anchor) {
  switch (anchor) {
    case Anchor::kStart:
      return "start";
    case Anchor::kMiddle:
      return "middle";
    case Anchor::kEnd:
      return "end";
  }
  return "start";
}

}  // namespace

std::string print_coordinate(double value) {
  char buffer[64];
  std::snprintf(buffer, sizeof buffer, "%.2f", std::isfinite(value) ? value : 0.0);
  std::string number = buffer;
  number.erase(number.find_last_not_of('0') + 1);
  if (number.ends_with('.')) number.pop_back();
  return number == "-0" ? "0" : number;
}

std::string escape_xml(std::string_view text) {
  const std::string shown = printable(text, kMostTextBytes);
  std::string out;
  for (std::size_t at = 0; at < shown.size(); ++at) {
    // XML has no U+FFFE and U+FFFF, which are well-formed otherwise.
    const std::string_view three = std::string_view(shown).substr(at, 3);
    if (three == "\xef\xbf\xbe" || three == "\xef\xbf\xbf") {
      out += '?';
      at += 2;
      continue;
    }
    const char c = shown[at];
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

double text_width(std::string_view text, double size) {
  constexpr std::string_view kNarrow = " .,:;!|'ijltfrI()[]/";
  constexpr std::string_view kWide = "mwMW%@";
  double ems = 0.0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xc0) == 0x80) continue;  // within a UTF-8 character
    ems += kNarrow.find(c) != std::string_view::npos ? 0.38
           : kWide.find(c) != std::string_view::npos ? 0.95
                                                     : 0.62;
  }
  return ems * size;
}

std::string fit_text(std::string_view text, double size, double width) {
  std::string shown = printable(text, kMostTextBytes);
  if (text_width(shown, size) <= width) return shown;
  while (!shown.empty() && text_width(shown, size) + text_width("...", size) > width) {
    // Whole characters: the bytes of one that follow its first begin with the bits 10.
    while ((static_cast<unsigned char>(shown.back()) & 0xc0) == 0x80) shown.pop_back();
    shown.pop_back();
  }
  return shown + "...";
}

Svg::Svg(double width, double height, std::string_view title) {
  const std::string w = print_coordinate(width);
  const std::string h = print_coordinate(height);
  out_ = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\"";
  out_ += " width=\"" + w + "\" height=\"" + h + "\" viewBox=\"0 0 " + w + " " + h + "\"";
  out_ +=
      " role=\"img\" font-family=\"Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial,"
      " 'DejaVu Sans', sans-serif\">\n";
  out_ += "<title>" + escape_xml(title) + "</title>\n";
  rectangle({0, 0}, width, height, palette::kBackground, 6.0);
}

void Svg::rectangle(PicturePoint at, double width, double height, const char* fill, double rounding,
                    std::string_view tooltip) {
  out_ += "<rect" + attribute("x", at.x) + attribute("y", at.y) + attribute("width", width) +
          attribute("height", height) + attribute("fill", fill);
  if (rounding > 0.0) out_ += attribute("rx", rounding);
  out_ += tooltip.empty() ? "/>\n" : "><title>" + escape_xml(tooltip) + "</title></rect>\n";
}

void Svg::line(PicturePoint from, PicturePoint to, const LineStyle& style) {
  out_ += "<line" + attribute("x1", from.x) + attribute("y1", from.y) + attribute("x2", to.x) +
          attribute("y2", to.y) + stroke(style) + "/>\n";
}

void Svg::path(const std::vector<PicturePoint>& points, const LineStyle& style) {
  out_ += "<polyline fill=\"none\" stroke-linejoin=\"round\" stroke-linecap=\"round\"" +
          stroke(style) + " points=\"" + point_list(points) + "\"/>\n";
}

void Svg::mark(PicturePoint at, double radius, std::size_t shape, const char* fill) {
  const std::string look = attribute("fill", fill) + attribute("stroke", palette::kBackground) +
                           attribute("stroke-width", 1.25);
  if (shape % 4 == 0) {
    out_ += "<circle" + attribute("cx", at.x) + attribute("cy", at.y) + attribute("r", radius) +
            look + "/>\n";
    return;
  }
  const double r = radius;
  std::vector<PicturePoint> corners;
  switch (shape % 4) {
    case 1:
      corners = {{-0.88 * r, -0.88 * r},
                 {0.88 * r, -0.88 * r},
                 {0.88 * r, 0.88 * r},
                 {-0.88 * r, 0.88 * r}};
      break;
    case 2:
      corners = {{0.0, -1.2 * r}, {1.1 * r, 0.8 * r}, {-1.1 * r, 0.8 * r}};
      break;
    default:
      corners = {{0.0, -1.25 * r}, {1.25 * r, 0.0}, {0.0, 1.25 * r}, {-1.25 * r, 0.0}};
  }
  for (PicturePoint& p : corners) p = {at.x + p.x, at.y + p.y};
  out_ += "<polygon" + look + " points=\"" + point_list(corners) + "\"/>\n";
}

void Svg::text(PicturePoint at, std::string_view text, const TextStyle& style) {
  out_ += "<text" + attribute("x", at.x) + attribute("y", at.y) +
          attribute("font-size", style.size) + attribute("fill", style.colour);
  if (style.anchor != Anchor::kStart) out_ += attribute("text-anchor", anchor_name(style.anchor));
  if (style.bold) out_ += " font-weight=\"600\"";
  if (style.upwards) {
    out_ +=
        " transform=\"rotate(-90 " + print_coordinate(at.x) + " " + print_coordinate(at.y) + ")\"";
  }
  out_ += '>';
  out_ += escape_xml(text) + "</text>\n";
}

std::string Svg::finish() const {
  return out_ + "</svg>\n";
}

void draw_heading(Svg& svg, double width, std::string_view title, std::string_view subtitle) {
  constexpr double kMargin = 28.0;
  constexpr double kBold = 1.1;  // is wider by that
  const double room = width - 2 * kMargin;
  svg.text({kMargin, 40.0}, fit_text(title, 19.0 * kBold, room), {.size = 19.0, .bold = true});
  svg.text({kMargin, 62.0}, fit_text(subtitle, 13.5, room),
           {.size = 13.5, .colour = palette::kSoftInk});
}

}  // namespace sluice
