#include "simulate/plot.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>

namespace gpupool {
namespace {

constexpr double width = 860, left = 60, right = 20, chart_height = 230;
constexpr double first_top = 70, second_top = 380, height = 660;
constexpr std::array colours{"#2a78d6", "#d1622b", "#2f9e5b", "#8a56c9",
                             "#b8860b", "#c43a6b", "#3aa0a0", "#777777"};
// Two lines of one colour differ in their dashes.
constexpr std::array dashes{"none", "7 4", "2 3", "9 3 2 3"};

std::string number(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%.1f", value);
  return text.data();
}

std::string escaped(const std::string& text) {
  std::string safe;
  for (const char c : text) {
    if (c == '&')
      safe += "&amp;";
    else if (c == '<')
      safe += "&lt;";
    else if (c == '>')
      safe += "&gt;";
    else
      safe += c;
  }
  return safe;
}

std::string text_at(double x, double y, const std::string& text, const std::string& anchor) {
  return "<text x='" + number(x) + "' y='" + number(y) + "' text-anchor='" + anchor + "'>" +
         escaped(text) + "</text>\n";
}

std::string line_of(double x1, double y1, double x2, double y2) {
  return "<line x1='" + number(x1) + "' y1='" + number(y1) + "' x2='" + number(x2) + "' y2='" +
         number(y2) + "'/>\n";
}

struct Point {
  double x = 0;
  double y = 0;
};

std::string curve_of(const std::vector<Point>& points, std::size_t index) {
  std::string path;
  for (const Point& point : points) path += number(point.x) + "," + number(point.y) + " ";
  return "<polyline fill='none' stroke-width='1.8' stroke='" +
         std::string(colours[index % colours.size()]) + "' stroke-dasharray='" +
         dashes[index / colours.size() % dashes.size()] + "' points='" + path + "'/>\n";
}

// Grid lines at every quarter, named as shares.
std::string shares_axis(double top) {
  std::string svg;
  for (int quarter = 0; quarter <= 4; ++quarter) {
    const double y = top + chart_height * (1 - quarter / 4.0);
    svg += line_of(left, y, width - right, y) +
           text_at(left - 8, y + 4, std::to_string(quarter * 25) + " %", "end");
  }
  return svg;
}

std::string duration_text(double seconds) {
  if (seconds < 120)
    return number(seconds) == "0.0" ? "0" : std::to_string(std::lround(seconds)) + " s";
  if (seconds < 7'200) return std::to_string(std::lround(seconds / 60)) + " min";
  if (seconds < 172'800) return std::to_string(std::lround(seconds / 3'600)) + " h";
  return std::to_string(std::lround(seconds / 86'400)) + " d";
}

// A wait of a second stands one step from the left, ten of them another one.
double decades_of(double seconds) { return std::log10(1 + seconds); }

std::string waits_chart(const std::vector<PlotLine>& lines) {
  double longest = 1;
  for (const PlotLine& line : lines)
    if (!line.waits_s.empty()) longest = std::max(longest, line.waits_s.back());
  const double most = decades_of(longest);
  const auto x_of = [most](double seconds) {
    return left + (width - left - right) * decades_of(seconds) / most;
  };
  std::string svg = text_at(left, first_top - 14, "Requests that waited at most so long", "start");
  svg += shares_axis(first_top);
  double last_x = -100;
  for (const double seconds : {0., 1., 3., 10., 30., 60., 180., 600., 1'800., 3'600., 10'800.,
                               43'200., 172'800., 864'000.}) {
    const double x = x_of(seconds);
    if (seconds > longest || x < last_x + 46) continue;
    last_x = x;
    svg += text_at(x, first_top + chart_height + 18, duration_text(seconds), "middle");
  }
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto& waits = lines[i].waits_s;
    std::vector<Point> points;
    constexpr std::size_t steps = 400;
    for (std::size_t step = 0; step <= steps && !waits.empty(); ++step) {
      const std::size_t at = step * (waits.size() - 1) / steps;
      const double share = static_cast<double>(at + 1) / static_cast<double>(waits.size());
      points.push_back({x_of(waits[at]), first_top + chart_height * (1 - share)});
    }
    svg += curve_of(points, i);
  }
  return svg;
}

std::string occupancy_chart(const std::vector<PlotLine>& lines) {
  std::string svg = text_at(left, second_top - 14, "Slots occupied over time", "start");
  svg += shares_axis(second_top);
  double longest = 0;
  for (const PlotLine& line : lines) longest = std::max(longest, line.span_s);
  for (int quarter = 0; quarter <= 4; ++quarter)
    svg += text_at(left + (width - left - right) * quarter / 4, second_top + chart_height + 18,
                   duration_text(longest * quarter / 4), "middle");
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const PlotLine& line = lines[i];
    std::vector<Point> points;
    const auto parts = static_cast<double>(line.occupied.size());
    for (std::size_t part = 0; part < line.occupied.size() && longest > 0; ++part) {
      const double when = (static_cast<double>(part) + 0.5) / parts * line.span_s;
      points.push_back({left + (width - left - right) * when / longest,
                        second_top + chart_height * (1 - std::min(line.occupied[part], 1.0))});
    }
    svg += curve_of(points, i);
  }
  return svg;
}

std::string legend(const std::vector<PlotLine>& lines) {
  std::string svg;
  double x = left;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    svg += curve_of({{x, 33}, {x + 22, 33}}, i) + text_at(x + 28, 37, lines[i].name, "start");
    x += 46 + 7.2 * static_cast<double>(lines[i].name.size());
  }
  return svg;
}

}  // namespace

std::string plot_of(const std::string& title, std::vector<PlotLine> lines) {
  for (PlotLine& line : lines) std::sort(line.waits_s.begin(), line.waits_s.end());
  return "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 " + number(width) + " " +
         number(height) + "' font-family='sans-serif' font-size='12' role='img' aria-label='" +
         escaped(title) +
         "'>\n<style>svg{background:#fff}text{fill:#222}line{stroke:#ddd}"
         "@media(prefers-color-scheme:dark){svg{background:#181818}text{fill:#ddd}line{stroke:#444}"
         "}"
         "</style>\n" +
         text_at(left, 18, title, "start") + legend(lines) + waits_chart(lines) +
         occupancy_chart(lines) + "</svg>\n";
}

}  // namespace gpupool
