// Pictures: a small writer of SVG, and the colours and type that all of them share.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// Positions and lengths are in pixels, y downwards.
struct PicturePoint {
  double x;
  double y;
};

namespace palette {

inline constexpr const char* kBackground = "#ffffff";
inline constexpr const char* kInk = "#1b1f24";
inline constexpr const char* kSoftInk = "#57606a";
inline constexpr const char* kGrid = "#e4e7eb";
inline constexpr const char* kAxis = "#8c959f";
// Okabe and Ito's, told apart with any kind of colour vision; those light on white come last.
inline constexpr const char* kBlue = "#0072b2";
inline constexpr const char* kVermilion = "#d55e00";
inline constexpr const char* kGreen = "#009e73";
inline constexpr const char* kPurple = "#cc79a7";
inline constexpr const char* kOrange = "#e69f00";
inline constexpr const char* kSky = "#56b4e9";
inline constexpr const char* kGrey = "#9aa4af";
inline constexpr const char* kSeries[] = {kBlue, kVermilion, kGreen, kPurple, kOrange, kSky};

}  // namespace palette

enum class Anchor { kStart, kMiddle, kEnd };

struct TextStyle {
  double size = 13.0;
  const char* colour = palette::kInk;
  Anchor anchor = Anchor::kStart;
  bool bold = false;
  bool upwards = false;  // turned to be read from below
};

struct LineStyle {
  const char* colour = palette::kInk;
  double width = 1.0;
  bool dashed = false;
};

// With two decimals at most, the same on every machine: "12", "0.5", "-3.25".
std::string print_coordinate(double value);
// Text as it may stand in XML, what isn't UTF-8 or can't be shown spelt out.
std::string escape_xml(std::string_view text);
// At least what most typefaces take, in pixels.
double text_width(std::string_view text, double size);

// As much of a text as that leaves room for, with "..." for the rest.
std::string fit_text(std::string_view text, double size, double width);

class Svg {
 public:
  // `title` is for readers who can't see the picture, and for tooltips.
  Svg(double width, double height, std::string_view title);

  void rectangle(PicturePoint at, double width, double height, const char* fill,
                 double rounding = 0.0, std::string_view tooltip = {});
  void line(PicturePoint from, PicturePoint to, const LineStyle& style);
  void path(const std::vector<PicturePoint>& points, const LineStyle& style);
  // Filled, with an outline of the background's colour; shape 0 is a circle, then square, triangle
  // and diamond, and over again.
  void mark(PicturePoint at, double radius, std::size_t shape, const char* fill);
  void text(PicturePoint at, std::string_view text, const TextStyle& style);

  // The whole file.
  std::string finish() const;

 private:
  std::string out_;
};

// At the top left of a picture, cut to its width; ends 64 pixels below the top.
void draw_heading(Svg& svg, double width, std::string_view title, std::string_view subtitle);

}  // namespace sluice
