// The mechanical rules of the house style, over every file of the tree: who may include what, how
// long a file may be, who may read a clock. Each rule is a function from one file to what is wrong
// in it, and is shown a bad file as well, so that no rule can quietly find nothing.

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace fs = std::filesystem;
using Complaints = std::vector<std::string>;

struct Source {
  std::string path;                // from the root, e.g. "actors/broker/queue.h"
  std::vector<std::string> lines;  // as they are
  std::vector<std::string> code;   // the same lines without comments and the text of literals
};

bool any_of(const std::vector<std::string_view>& all, const auto& predicate) {
  return std::any_of(all.begin(), all.end(), predicate);
}

bool starts_with_any(const std::string& path, const std::vector<std::string_view>& starts) {
  return any_of(starts, [&](std::string_view start) { return path.starts_with(start); });
}

// The line without what stands in quotes and behind //. Block comments are not used in this tree.
std::string without_comment(const std::string& line) {
  std::string code;
  char quote = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quote != 0) {
      if (c == '\\') {
        ++i;
      } else if (c == quote) {
        quote = 0;
        code += c;
      }
      continue;
    }
    if (c == '/' && line.compare(i, 2, "//") == 0) break;
    // An apostrophe behind a digit parts the digits of a number.
    const bool opens = c == '"' || (c == '\'' && (code.empty() || !std::isalnum(code.back())));
    if (opens) quote = c;
    code += c;
  }
  return code;
}

Source source_of(std::string path, std::istream& text) {
  Source source{.path = std::move(path), .lines = {}, .code = {}};
  for (std::string line; std::getline(text, line);) {
    source.lines.push_back(line);
    source.code.push_back(line.starts_with("#include") ? line : without_comment(line));
  }
  return source;
}

Source snippet(std::string path, const std::string& text) {
  std::istringstream in(text);
  return source_of(std::move(path), in);
}

bool is_test(const Source& source) { return source.path.starts_with("tests/"); }
bool is_cpp(const std::string& path) {
  return path.ends_with(".h") || path.ends_with(".cpp") || path.ends_with(".cu");
}

std::string at(const Source& source, std::size_t index, const std::string& what) {
  return source.path + ":" + std::to_string(index + 1) + ": " + what;
}

// A complaint for every line of `lines` that holds what `pattern` says.
Complaints lines_with(const Source& source, const std::vector<std::string>& lines,
                      const std::regex& pattern, const std::string& what) {
  Complaints complaints;
  for (std::size_t i = 0; i < lines.size(); ++i)
    if (std::regex_search(lines[i], pattern)) complaints.push_back(at(source, i, what));
  return complaints;
}

// ---- Layers
// --------------------------------------------------------------------------------------

// A part of the tree as far as dependencies go; finer than its folders, see layer_of().
enum class Layer {
  base,
  config,
  gpu,
  core,
  simulate,
  journal,
  executor,
  shell,
  net,
  gateway,
  cli,
  tests
};

// A shell's file: the only ones under actors/ that may see CAF.
bool is_shell(const std::string& path) {
  static const std::regex shell{
      R"(actors/(.*_actor\.(h|cpp)|vocabulary\.h|(perform|network)\.(h|cpp)))"};
  return std::regex_match(path, shell);
}

Layer layer_of(const std::string& path) {
  static const std::regex journal{
      R"(actors/ledger/(.*sqlite|journal_postgres|snapshot_file|open_journal).*)"};
  static const std::regex executor{
      R"(actors/worker/(executor|process|result_store|nvml|device_monitor).*)"};
  if (path.starts_with("base/")) return Layer::base;
  if (path.starts_with("config/")) return Layer::config;
  if (path.starts_with("gpu/")) return Layer::gpu;
  if (is_shell(path)) return Layer::shell;
  if (std::regex_match(path, journal)) return Layer::journal;
  if (std::regex_match(path, executor)) return Layer::executor;
  if (path.starts_with("actors/")) return Layer::core;
  if (starts_with_any(path, {"net/gateway.", "net/device_api_server.", "net/web_server."}))
    return Layer::gateway;
  if (path.starts_with("net/")) return Layer::net;
  if (path.starts_with("simulate/")) return Layer::simulate;
  if (path.starts_with("cli/")) return Layer::cli;
  return Layer::tests;  // tests and benchmarks see everything
}

bool may_include(const std::string& from, const std::string& to) {
  using enum Layer;
  static const std::map<Layer, std::set<Layer>> below{
      {base, {base}},
      {config, {base, config}},
      {gpu, {base, gpu}},
      {core, {base, config, core}},
      {simulate, {base, config, core, simulate}},
      {journal, {base, config, core, journal}},
      {executor, {base, config, core, executor}},
      {shell, {base, config, core, journal, executor, shell}},
      {net, {base, config, core, net}},
      {gateway, {base, config, core, executor, shell, net, gateway}},
      {cli, {base, config, core, simulate, journal, executor, shell, net, gateway, cli}},
  };
  const Layer layer = layer_of(from);
  if (layer == tests) return true;
  // Where the engine and the pool meet: the diffusion executor and its program.
  if (starts_with_any(from, {"actors/worker/executor_diffusion", "cli/diffusion."}) &&
      layer_of(to) == gpu)
    return true;
  return below.at(layer).contains(layer_of(to));
}

Complaints includes_point_one_way(const Source& source) {
  static const std::regex own{R"re(^#include "([^"]+)")re"};
  static const std::set<std::string> folders{"base", "config", "gpu",   "actors", "simulate",
                                             "net",  "cli",    "tests", "bench"};
  Complaints complaints;
  for (std::size_t i = 0; i < source.code.size(); ++i) {
    std::smatch match;
    if (!std::regex_search(source.code[i], match, own)) continue;
    const std::string target = match[1];
    const std::string folder = target.substr(0, target.find('/'));
    // A test may name its neighbour.
    if (is_test(source) && folder.size() == target.size()) continue;
    if (!folders.contains(folder) || folder.size() == target.size())
      complaints.push_back(at(source, i, "\"" + target + "\" is not a path from the root"));
    else if (!may_include(source.path, target))
      complaints.push_back(at(source, i, "may not include \"" + target + "\""));
  }
  return complaints;
}

// Which files may include a library or a piece of the system. Tests may include what they test.
struct Library {
  std::regex header;
  std::function<bool(const std::string& path)> allowed;
};

const std::vector<Library>& libraries() {
  const auto only = [](std::vector<std::string_view> starts) {
    return [starts](const std::string& path) { return starts_with_any(path, starts); };
  };
  static const std::vector<Library> all{
      {std::regex("caf/.*"),
       [](const std::string& path) {
         return is_shell(path) || layer_of(path) == Layer::gateway ||
                starts_with_any(path, {"cli/daemon.", "cli/liveness.", "tests/actors_test.cpp"});
       }},
      {std::regex("boost/(asio|beast).*"), only({"net/http.", "tests/", "bench/"})},
      {std::regex("zmq.*"), only({"net/", "tests/net/", "tests/system/"})},
      {std::regex("sqlite3\\.h"),
       only({"actors/ledger/journal_sqlite", "actors/ledger/history_sqlite",
             "actors/ledger/sqlite_handle", "tests/", "bench/"})},
      {std::regex("libpq.*"), only({"actors/ledger/journal_postgres", "tests/", "bench/"})},
      {std::regex("dnnl.*"), only({"gpu/cpu/", "tests/gpu/", "bench/"})},
      {std::regex("gloo/.*"), only({"gpu/comm_gloo"})},
      {std::regex("(cuda|cublas|nccl).*"), only({"gpu/cuda/", "gpu/comm_nccl", "tests/gpu/"})},
      {std::regex("png\\.h"), only({"gpu/", "tests/gpu/"})},
      {std::regex("toml\\+\\+/.*"), only({"config/"})},
      {std::regex("msgpack.*"), only({"base/pack.h", "net/", "tests/", "bench/"})},
      {std::regex("sodium.*"),
       only({"net/", "actors/ledger/batch", "actors/ledger/request_table", "actors/ledger/snapshot",
             "actors/worker/result_store", "actors/worker/lease_token", "cli/", "tests/"})},
      {std::regex("spdlog/.*"),
       [](const std::string& path) {
         return is_shell(path) || layer_of(path) == Layer::gateway ||
                starts_with_any(path, {"cli/logging.", "tests/cli/"});
       }},
      {std::regex("openssl/.*"), only({"net/certificate", "net/issuer_token", "config/jwks",
                                       "tests/net/issuer_token", "tests/system/stranger.h"})},
      {std::regex("systemd/.*"), only({"cli/notify."})},
      {std::regex("CLI/.*"), only({"cli/", "bench/"})},
      {std::regex("nlohmann/.*"),
       only({"gpu/", "net/", "cli/", "config/jwks", "tests/", "bench/"})},
      {std::regex("catch2/.*"), only({"tests/"})},
  };
  return all;
}

Complaints libraries_stay_in_their_rooms(const Source& source) {
  static const std::regex theirs{"^#include <([^>]+)>"};
  Complaints complaints;
  for (std::size_t i = 0; i < source.code.size(); ++i) {
    std::smatch match;
    if (!std::regex_search(source.code[i], match, theirs)) continue;
    const std::string header = match[1];
    for (const auto& library : libraries())
      if (std::regex_match(header, library.header) && !library.allowed(source.path))
        complaints.push_back(at(source, i, "may not include <" + header + ">"));
  }
  return complaints;
}

// A core is a function of its messages and the time it is told: no I/O, no threads, no clock.
Complaints cores_stay_pure(const Source& source) {
  if (layer_of(source.path) != Layer::core) return {};
  static const std::regex include{
      "^#include <(sys/.*|arpa/.*|net/.*|netinet/.*|unistd\\.h|fcntl\\.h|poll\\.h|signal\\.h|"
      "pthread\\.h|time\\.h|csignal|ctime|iostream|fstream|filesystem|thread|mutex|"
      "shared_mutex|condition_variable|future|atomic|random)>"};
  static const std::regex call{
      "\\bstd::(cout|cerr|clog|rand|getenv|thread|mutex)\\b|\\b(printf|fprintf|puts|getenv)\\("};
  auto complaints = lines_with(source, source.code, include, "a core has no I/O, threads or clock");
  for (auto& one : lines_with(source, source.code, call, "a core prints and asks nothing"))
    complaints.push_back(std::move(one));
  return complaints;
}

Complaints only_shells_read_clocks(const Source& source) {
  static const std::regex clock{
      "\\b(system_clock|steady_clock|high_resolution_clock|clock_gettime|gettimeofday)\\b|"
      "\\bstd::time\\("};
  // base/clock.h is what shells and programs read time with, and process.cpp is linked where little
  // else is; benchmarks measure; what starts real processes waits for them in real time.
  if (starts_with_any(source.path, {"base/clock.h", "actors/worker/process.cpp", "bench/",
                                    "tests/executor/", "tests/system/", "tests/cluster/programs/"}))
    return {};
  auto complaints = lines_with(source, source.code, clock, "reads a clock");
  static const std::regex header{"^#include \"base/clock.h\""};
  const Layer layer = layer_of(source.path);
  if (layer == Layer::base || layer == Layer::config || layer == Layer::core || layer == Layer::gpu)
    for (auto& one : lines_with(source, source.code, header, "includes a clock"))
      complaints.push_back(std::move(one));
  return complaints;
}

Complaints only_programs_draw_seeds(const Source& source) {
  // Programs, and the tests that do things at random moments (they print their seeds).
  if (starts_with_any(source.path,
                      {"cli/", "deploy/examples/", "tests/system/", "tests/cluster/main.cpp"}))
    return {};
  static const std::regex random{"\\brandom_device\\b|\\bmt19937|\\bsrand\\(|\\bgetrandom\\("};
  return lines_with(source, source.code, random, "draws randomness of its own");
}

// Under C++20 CAF 0.17 takes an aggregate State for constructible from a pointer to its actor, and
// so starts it with wrong values, silently. Shells are classes with constructors instead.
Complaints shells_are_classes(const Source& source) {
  static const std::regex stateful{"\\bstateful_(actor|pointer)\\b"};
  return lines_with(source, source.code, stateful, "uses CAF's stateful_actor");
}

// ---- Shape of files
// ------------------------------------------------------------------------------

Complaints files_stay_short(const Source& source) {
  // The vocabulary is one file by intent, so that it can be read from top to bottom.
  const std::size_t most = source.path == "actors/messages.h" ? 1000 : is_test(source) ? 800 : 500;
  if (source.lines.size() < most) return {};
  return {source.path + ": has " + std::to_string(source.lines.size()) + " lines, " +
          std::to_string(most) + " are too many"};
}

std::size_t columns_of(const std::string& line) {
  return static_cast<std::size_t>(std::count_if(line.begin(), line.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  }));
}

Complaints lines_stay_narrow(const Source& source) {
  Complaints complaints;
  for (std::size_t i = 0; i < source.lines.size(); ++i) {
    if (columns_of(source.lines[i]) > 100) complaints.push_back(at(source, i, "over 100 columns"));
    if (source.lines[i].ends_with(' ') || source.lines[i].find('\t') != std::string::npos)
      complaints.push_back(at(source, i, "a tab, or a space at the end of the line"));
  }
  return complaints;
}

// A function stands at the left edge, as everything does inside the one namespace.
Complaints functions_stay_short(const Source& source) {
  static const std::regex opens{R"(^[A-Za-z~].*\{$)"};
  static const std::regex no_function{
      "^(namespace|class|struct|enum|union|extern|constexpr|const)\\b"};
  const std::size_t most = is_test(source) ? 100 : 70;
  Complaints complaints;
  for (std::size_t i = 0; i < source.code.size(); ++i) {
    if (!std::regex_search(source.code[i], opens) || std::regex_search(source.code[i], no_function))
      continue;
    const std::size_t begin = i;
    while (i < source.code.size() && !source.code[i].starts_with('}')) ++i;
    if (i - begin > most)
      complaints.push_back(
          at(source, begin, "a function of " + std::to_string(i - begin) + " lines"));
  }
  return complaints;
}

Complaints headers_say_what_they_are(const Source& source) {
  if (!source.path.ends_with(".h")) return {};
  const auto& lines = source.lines;
  if (lines.size() < 3 || lines[0] != "#pragma once" || !lines[1].starts_with("// "))
    return {source.path + ": opens without #pragma once and a comment below it"};
  return {};
}

Complaints nothing_is_left_to_do(const Source& source) {
  static const std::regex marker{
      "\\b(TO"
      "DO|FIX"
      "ME|X"
      "XX|HA"
      "CK)\\b"};
  return lines_with(source, source.lines, marker, "is not finished");
}

Complaints no_machine_is_named(const Source& source) {
  static const std::regex place{
      "(^|[^A-Za-z0-9_.])/(ro"
      "ot|ho"
      "me|wo"
      "rk|Us"
      "ers)/"};
  return lines_with(source, source.lines, place, "names a path of some machine");
}

Complaints names_mean_something(const Source& source) {
  static const std::regex type{
      "\\b(class|struct|enum class) \\w*(Manager|Helper|Util|Utils|Impl|Data|Info)\\b"};
  return lines_with(source, source.code, type, "a type with an empty name");
}

// ---- Tests
// ---------------------------------------------------------------------------------------

Complaints tests_never_sleep(const Source& source) {
  if (!is_test(source) || starts_with_any(source.path, {"tests/system/", "tests/cluster/"}))
    return {};
  static const std::regex sleep{"\\b(sleep_for|sleep_until|usleep|nanosleep|sleep)\\s*\\("};
  return lines_with(source, source.code, sleep, "a test sleeps");
}

Complaints tests_are_named_by_sentences(const Source& source) {
  static const std::regex test{R"re(^TEST_CASE(?:\(|_METHOD\(\w+, )"([^"]*)")re"};
  static const std::regex sentence{R"(^[A-Z0-9\-].* .*[^.]$|^[a-z_]+[a-z0-9_.]* .* .*[^.]$)"};
  Complaints complaints;
  for (std::size_t i = 0; i < source.lines.size(); ++i) {
    std::smatch match;
    if (!std::regex_search(source.lines[i], match, test)) continue;
    const std::string name = match[1];
    if (!std::regex_match(name, sentence))
      complaints.push_back(at(source, i, "\"" + name + "\" is no sentence about a behaviour"));
  }
  return complaints;
}

// ---- Errors and messages
// -------------------------------------------------------------------------

Complaints error_numbers_are_in_order(const Source& source) {
  if (source.path != "base/errors.def") return {};
  static const std::regex entry{R"(^GPUPOOL_ERROR\((\d+), (\w+), )"};
  static const std::regex heading{R"(^// (\d+): )"};
  Complaints complaints;
  std::set<std::string> names;
  int last = 0;
  int hundred = 0;
  for (std::size_t i = 0; i < source.lines.size(); ++i) {
    std::smatch match;
    if (std::regex_search(source.lines[i], match, heading)) hundred = std::stoi(match[1]);
    if (!std::regex_search(source.lines[i], match, entry)) continue;
    const int number = std::stoi(match[1]);
    if (number <= last) complaints.push_back(at(source, i, "not above the number before it"));
    if (number / 100 * 100 != hundred) complaints.push_back(at(source, i, "not in its hundred"));
    if (!names.insert(match[2]).second) complaints.push_back(at(source, i, "a name used twice"));
    last = number;
  }
  return complaints;
}

// The names in `text` between std::tie( and its ).
std::set<std::string> tied_names(const std::string& text) {
  std::set<std::string> names;
  const auto begin = text.find("std::tie(");
  if (begin == std::string::npos) return names;
  static const std::regex name{"\\w+"};
  const std::string list = text.substr(begin + 9, text.find(')', begin) - begin - 9);
  for (std::sregex_iterator i(list.begin(), list.end(), name), end; i != end; ++i)
    names.insert(i->str());
  return names;
}

Complaints fields_list_every_member(const Source& source) {
  if (!source.path.starts_with("actors/messages") && source.path != "actors/ledger/records.h")
    return {};
  // What goes beside a record and not into it.
  static const std::set<std::string> unpacked{"HoldOpened::blob", "HoldSettled::has_blob"};
  static const std::regex opening{R"(^struct (\w+) \{$)"};
  static const std::regex member{R"(^  [\w:<>]+ (\w+)( = .*|\{.*\})?;$)"};
  Complaints complaints;
  for (std::size_t i = 0; i < source.code.size(); ++i) {
    std::smatch match;
    if (!std::regex_search(source.code[i], match, opening)) continue;
    const std::size_t begin = i;
    const std::string name = match[1];
    std::set<std::string> members;
    std::string body;
    for (++i; i < source.code.size() && source.code[i] != "};"; ++i) {
      std::string line = source.code[i];
      line.erase(line.find_last_not_of(' ') + 1);
      if (std::regex_match(line, match, member) && !unpacked.contains(name + "::" + match.str(1)))
        members.insert(match[1]);
      body += line;
    }
    if (tied_names(body) != members)
      complaints.push_back(at(source, begin, name + "::fields() is not the list of its members"));
  }
  return complaints;
}

// ---- Documentation
// -------------------------------------------------------------------------------

// A page's lines without its blocks of code.
std::vector<std::string> prose_of(std::vector<std::string> lines) {
  bool is_code = false;
  for (std::string& line : lines) {
    const bool fence = line.starts_with("```");
    if (fence) is_code = !is_code;
    if (fence || is_code) line.clear();
  }
  return lines;
}

// The anchors of a page as its readers make them of its headings: "## The `x` of it" is
// the-x-of-it.
std::set<std::string> anchors_of(const std::vector<std::string>& lines) {
  std::set<std::string> anchors;
  for (const std::string& line : prose_of(lines)) {
    const std::size_t begin = line.find_first_not_of('#');
    if (begin == 0 || begin == std::string::npos || line[begin] != ' ') continue;
    std::string anchor;
    for (const char c : line.substr(begin + 1)) {
      const bool other = static_cast<unsigned char>(c) >= 0x80U;  // a letter, in UTF-8
      if (c == ' ') anchor += '-';
      if (other || std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_')
        anchor += static_cast<char>(other ? c : std::tolower(static_cast<unsigned char>(c)));
    }
    anchors.insert(anchor);
  }
  return anchors;
}

bool has_anchor(const Source& page, const fs::path& file, const std::string& anchor) {
  if (file.lexically_normal() == fs::path(page.path))
    return anchors_of(page.lines).contains(anchor);
  std::ifstream in(file);
  return anchors_of(source_of(file.generic_string(), in).lines).contains(anchor);
}

// Every link of a page to a file of the tree, and to a heading of one.
Complaints links_lead_somewhere(const Source& source) {
  if (!source.path.ends_with(".md")) return {};
  static const std::regex link{R"(\]\(([^)\s#]*)(?:#([^)\s]*))?\))"};
  const std::vector<std::string> lines = prose_of(source.lines);
  Complaints complaints;
  for (std::size_t i = 0; i < lines.size(); ++i)
    for (std::sregex_iterator one(lines[i].begin(), lines[i].end(), link), end; one != end; ++one) {
      const std::string target = one->str(1);
      const std::string anchor = one->str(2);
      if (target.find("://") != std::string::npos || target.starts_with("mailto:")) continue;
      const fs::path file =
          target.empty() ? fs::path(source.path) : fs::path(source.path).parent_path() / target;
      if (!target.empty() && !fs::exists(file))
        complaints.push_back(at(source, i, "\"" + target + "\" is not there"));
      else if (!anchor.empty() && !has_anchor(source, file, anchor))
        complaints.push_back(at(source, i, "\"" + target + "\" has no heading #" + anchor));
    }
  return complaints;
}

// ---- The tree
// ------------------------------------------------------------------------------------

std::vector<Source> tree() {
  std::vector<Source> sources;
  const auto take = [&](const fs::path& path) {
    std::ifstream in(path);
    REQUIRE(in);
    sources.push_back(source_of(path.lexically_normal().generic_string(), in));
  };
  const std::set<std::string> extensions{".h",    ".cpp", ".cu",  ".def",  ".py",  ".sh",
                                         ".toml", ".md",  ".txt", ".json", ".sql", ".cmake"};
  for (const std::string folder : {"base", "config", "actors", "gpu", "net", "cli", "tests",
                                   "bench", "models", "deploy", "docs", "cmake", "sdk"})
    for (const auto& entry : fs::recursive_directory_iterator(folder))
      if (entry.is_regular_file() && extensions.contains(entry.path().extension().string()))
        take(entry.path());
  for (const std::string file : {"CMakeLists.txt", "CMakePresets.json", "README.md", "CHANGELOG.md",
                                 "quickstart", "check", ".ci/run", "bench/run"})
    take(file);
  return sources;
}

struct Rule {
  std::string_view name;
  Complaints (*find)(const Source&);
  enum class Of { cpp, everything } of = Of::cpp;
};

constexpr std::array rules{
    Rule{"includes_point_one_way", includes_point_one_way},
    Rule{"libraries_stay_in_their_rooms", libraries_stay_in_their_rooms},
    Rule{"cores_stay_pure", cores_stay_pure},
    Rule{"only_shells_read_clocks", only_shells_read_clocks},
    Rule{"only_programs_draw_seeds", only_programs_draw_seeds},
    Rule{"shells_are_classes", shells_are_classes},
    Rule{"files_stay_short", files_stay_short},
    Rule{"lines_stay_narrow", lines_stay_narrow},
    Rule{"functions_stay_short", functions_stay_short},
    Rule{"headers_say_what_they_are", headers_say_what_they_are},
    Rule{"nothing_is_left_to_do", nothing_is_left_to_do, Rule::Of::everything},
    Rule{"no_machine_is_named", no_machine_is_named, Rule::Of::everything},
    Rule{"names_mean_something", names_mean_something},
    Rule{"tests_never_sleep", tests_never_sleep},
    Rule{"tests_are_named_by_sentences", tests_are_named_by_sentences},
    Rule{"error_numbers_are_in_order", error_numbers_are_in_order, Rule::Of::everything},
    Rule{"fields_list_every_member", fields_list_every_member},
    Rule{"links_lead_somewhere", links_lead_somewhere, Rule::Of::everything},
};

}  // namespace

TEST_CASE("Every file of the tree keeps the mechanical rules") {
  const auto sources = tree();
  CHECK(sources.size() > 100);
  for (const auto& rule : rules) {
    for (const auto& source : sources) {
      if (rule.of == Rule::Of::cpp && !is_cpp(source.path)) continue;
      for (const auto& complaint : rule.find(source)) {
        INFO(rule.name << ": " << complaint);
        CHECK(complaint.empty());
      }
    }
  }
}

TEST_CASE("Each rule finds what it is for") {
  struct Bad {
    Complaints (*find)(const Source&);
    std::string path;
    std::string text;
    std::size_t complaints;
  };
  const std::string include = "#include ";
  const std::string long_function = "int f() {\n" + std::string(200, '\n') + "}\n";
  const Bad table[] = {
      {includes_point_one_way, "base/a.h", include + "\"config/config.h\"\n", 1},
      {includes_point_one_way, "config/a.h", include + "\"actors/messages.h\"\n", 1},
      {includes_point_one_way, "gpu/a.h", include + "\"config/limits.h\"\n", 1},
      {includes_point_one_way, "actors/broker/broker.cpp", include + "\"actors/perform.h\"\n", 1},
      {includes_point_one_way, "actors/worker/worker.h", include + "\"gpu/model.h\"\n", 1},
      {includes_point_one_way, "actors/worker/executor.h", include + "\"gpu/model.h\"\n", 1},
      {includes_point_one_way, "actors/worker/executor_diffusion.h", include + "\"gpu/a.h\"\n", 0},
      {includes_point_one_way, "actors/ledger/ledger.h",
       include + "\"actors/ledger/open_journal.h\"\n", 1},
      {includes_point_one_way, "net/client.h", include + "\"actors/vocabulary.h\"\n", 1},
      {includes_point_one_way, "net/gateway.cpp", include + "\"actors/vocabulary.h\"\n", 0},
      {includes_point_one_way, "actors/a_actor.h", include + "\"net/wire.h\"\n", 1},
      {includes_point_one_way, "net/wire.cpp", include + "\"cli/options.h\"\n", 1},
      {includes_point_one_way, "net/wire.cpp", include + "\"wire.h\"\n", 1},
      {libraries_stay_in_their_rooms, "actors/ledger/ledger.h", include + "<sqlite3.h>\n", 1},
      {libraries_stay_in_their_rooms, "actors/broker/broker.h", include + "<caf/all.hpp>\n", 1},
      {libraries_stay_in_their_rooms, "net/client.cpp", include + "<caf/all.hpp>\n", 1},
      {libraries_stay_in_their_rooms, "tests/net/a.cpp", include + "<caf/all.hpp>\n", 1},
      {libraries_stay_in_their_rooms, "actors/vocabulary.h", include + "<caf/all.hpp>\n", 0},
      {libraries_stay_in_their_rooms, "actors/a/a.cpp", include + "<zmq.h>\n", 1},
      {libraries_stay_in_their_rooms, "actors/worker/worker.cpp", include + "<dnnl.hpp>\n", 1},
      {libraries_stay_in_their_rooms, "gpu/a.cpp", include + "<spdlog/spdlog.h>\n", 1},
      {cores_stay_pure, "actors/a/a.cpp", include + "<sys/socket.h>\n", 1},
      {cores_stay_pure, "actors/a/a.cpp", include + "<thread>\nstd::cout << 1;\n", 2},
      {cores_stay_pure, "actors/a/a_actor.cpp", include + "<mutex>\n", 0},
      {only_shells_read_clocks, "actors/a/a.cpp", "x = std::chrono::steady_clock::now();\n", 1},
      {only_shells_read_clocks, "tests/a.cpp", "clock_gettime(c, &t);\n", 1},
      {only_shells_read_clocks, "actors/a/a.cpp", include + "\"base/clock.h\"\n", 1},
      {only_shells_read_clocks, "actors/a/a.cpp", "// steady_clock would lie here\n", 0},
      {only_programs_draw_seeds, "net/client.cpp", "std::random_device device;\n", 1},
      {shells_are_classes, "actors/a/a_actor.cpp", "caf::stateful_actor<State>* self;\n", 1},
      {files_stay_short, "base/a.h", std::string(500, '\n'), 1},
      {files_stay_short, "tests/a.cpp", std::string(500, '\n'), 0},
      {files_stay_short, "tests/a.cpp", std::string(800, '\n'), 1},
      {lines_stay_narrow, "base/a.h", std::string(101, 'x') + "\nx \n\tx\n", 3},
      {lines_stay_narrow, "base/a.h", std::string(98, 'x') + "\xC3\xA9\xC3\xA9\n", 0},
      {functions_stay_short, "base/a.cpp", long_function, 1},
      {functions_stay_short, "base/a.cpp", "namespace a {\n" + long_function + "}\n", 1},
      {functions_stay_short, "base/a.cpp", "int f() {\n}\nint g() {\n}\n", 0},
      {headers_say_what_they_are, "base/a.h", "#pragma once\n\nint a;\n", 1},
      {headers_say_what_they_are, "base/a.h", "// A thing.\n#pragma once\nint a;\n", 1},
      {nothing_is_left_to_do, "base/a.h",
       "// TO"
       "DO: more\n",
       1},
      {no_machine_is_named, "README.md",
       "see /ho"
       "me/ada/file\n",
       1},
      {no_machine_is_named, "README.md", "see docs/work/a and ./root/b\n", 0},
      {names_mean_something, "base/a.h", "class JobManager {\n", 1},
      {tests_never_sleep, "tests/a.cpp", "std::this_thread::sleep_for(1s);\n", 1},
      {tests_never_sleep, "tests/a.cpp", "// sleep(1) would be wrong\n", 0},
      {tests_never_sleep, "tests/system/a.cpp", "std::this_thread::sleep_for(1s);\n", 0},
      {tests_are_named_by_sentences, "tests/a.cpp", "TEST_CASE(\"queue\") {\n", 1},
      {tests_are_named_by_sentences, "tests/a.cpp", "TEST_CASE_METHOD(A, \"queue\") {\n", 1},
      {tests_are_named_by_sentences, "tests/a.cpp", "TEST_CASE(\"A queue is fair\") {\n", 0},
      {error_numbers_are_in_order, "base/errors.def",
       "// 100: a\nGPUPOOL_ERROR(100, a, \"\")\nGPUPOOL_ERROR(100, a, \"\")\n"
       "GPUPOOL_ERROR(200, b, \"\")\n",
       3},
      {fields_list_every_member, "actors/messages.h",
       "struct A {\n  int a;\n  Id b{};  // why\n  auto fields() { return std::tie(a); }\n};\n", 1},
      {fields_list_every_member, "actors/messages.h",
       "struct A {\n  int a = 0;\n  std::vector<Id> b;\n  auto fields() {\n"
       "    return std::tie(a,\n                    b);\n  }\n};\n",
       0},
      {links_lead_somewhere, "docs/a.md", "see [b](nowhere.md) and [c](../README.md#nothing)\n", 2},
      {links_lead_somewhere, "docs/a.md", "# A `b`, and c\n[d](#a-b-and-c), [e](#a-b)\n", 1},
      {links_lead_somewhere, "docs/a.md",
       "[f](https://example.org/#g), [h](../README.md#the-map)\n```\n[i](nowhere.md)\n```\n", 0},
  };
  std::set<Complaints (*)(const Source&)> shown;
  for (const auto& bad : table) {
    INFO(bad.path << "\n" << bad.text);
    CHECK(bad.find(snippet(bad.path, bad.text)).size() == bad.complaints);
    if (bad.complaints > 0) shown.insert(bad.find);
  }
  CHECK(shown.size() == rules.size());
}
