#pragma once
// Section: one table of a configuration file while it is read. Each key is asked for once, with its
// type and its limits; a value of another kind or beyond them, a missing key that has no default
// and a key that nobody asked for become findings with the line, the key and what was expected. The
// target always holds a value afterwards, so reading goes on and the first finding in line order
// can be told. Knows TOML and nothing about the pool. One thread, no I/O.

#include <toml++/toml.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/amount.h"
#include "base/result.h"
#include "base/time.h"

namespace gpupool {

// The place in a file that a finding is about: its line, and the key with the tables around it.
struct FilePlace {
  std::int64_t line = 0;
  std::string key;
};

// Everything found wrong in one file, and every key that was asked for.
class Findings {
 public:
  explicit Findings(std::filesystem::path file) : file_(std::move(file)) {}

  void add(const FilePlace& place, std::string_view expected, std::string found);
  void note_key(std::string key) { known_keys_.insert(std::move(key)); }

  const std::filesystem::path& file() const { return file_; }
  const std::set<std::string>& known_keys() const { return known_keys_; }
  // The finding of the lowest line; of two on one line the earlier.
  const std::optional<Error>& first() const { return first_; }

 private:
  std::filesystem::path file_;
  std::set<std::string> known_keys_;
  std::optional<Error> first_;
};

// What a key's value has to be. `allowed` is inclusive; texts say in words what they expect.
struct Range {
  std::int64_t low = 0;
  std::int64_t high = 0;
};

struct TextRule {
  std::string_view expected;
  bool (*allows)(std::string_view);
};

inline constexpr std::int64_t entries_max = 256;  // of each list of tables

enum class Need : std::uint8_t { optional = 1, required = 2 };
enum class Repeats : std::uint8_t { refused = 1, allowed = 2 };  // of an entry in a list of texts

class Section {
 public:
  // `table` may be null: a table that the file leaves out has every default.
  Section(const toml::table* table, FilePlace place, Findings& findings)
      : table_(table), place_(std::move(place)), findings_(findings) {}

  void text(std::string_view key, std::string& target, TextRule rule, Need need = Need::optional);
  void texts(std::string_view key, std::vector<std::string>& target, TextRule rule,
             Repeats repeats = Repeats::refused);
  // A list of whole numbers, each once.
  void numbers(std::string_view key, std::vector<std::uint32_t>& target, Range allowed);
  void flag(std::string_view key, bool& target);
  void count(std::string_view key, std::uint32_t& target, Range allowed, Need = Need::optional);
  void bytes(std::string_view key, std::int64_t& target, Range allowed);
  // Seconds in the file, whole or to the millisecond; `allowed` is in milliseconds.
  void duration(std::string_view key, Duration& target, Range allowed, Need = Need::optional);
  void amount(std::string_view key, GpuTime& target, Range allowed, Need = Need::optional);
  // Any finite number, whole or not.
  void real(std::string_view key, double& target);
  // A moment with its time zone, as TOML writes it: 2026-12-01T08:00:00Z.
  void moment(std::string_view key, Instant& target);
  // Made relative to the file's folder, if it was relative. A default is left as it is.
  void path(std::string_view key, std::string& target, Need need = Need::optional);

  // Of the file, as it was named.
  std::filesystem::path folder() const { return findings_.file().parent_path(); }
  // Whether it stands in the file.
  bool has(std::string_view key) const { return table_ != nullptr && table_->contains(key); }
  Section section(std::string_view key);
  // [[key]]: `read` turns one table into an entry. Tables in the file replace the defaults.
  template <class Entry>
  void list(std::string_view key, std::vector<Entry>& target, std::int64_t most,
            const std::function<Entry(Section&)>& read) {
    const auto tables = tables_of(key, most);
    if (!tables) return;
    target.clear();
    for (auto one : *tables) {
      target.push_back(read(one));
      one.finish();
    }
  }

  // A finding about a key of this section, on its line, or on the section's if it is left out.
  void reject(std::string_view key, std::string_view expected, std::string found);
  // Call last: whatever was not asked for is unknown.
  void finish();

 private:
  const toml::node* find(std::string_view key, Need need, std::string_view expected);
  std::optional<std::int64_t> integer(std::string_view key, Range allowed, Need need);
  std::optional<std::int64_t> milliseconds_of(std::string_view key, Range allowed, Need need);
  std::optional<std::vector<Section>> tables_of(std::string_view key, std::int64_t most);
  std::string name_of(std::string_view key) const;
  FilePlace place_of(std::string_view key) const;

  const toml::table* table_;
  FilePlace place_;
  Findings& findings_;
  std::set<std::string, std::less<>> asked_;
};

// Says so if an earlier entry of the list has the name of the one just read.
template <class Entry, class Name>
void reject_repeat(Section& section, const std::vector<Entry>& before, std::string_view key,
                   Name Entry::*name, const Entry& entry) {
  for (const auto& one : before)
    if (one.*name == entry.*name)
      return section.reject(key, "a " + std::string(key) + " that no other entry has",
                            "\"" + entry.*name + "\" again");
}

}  // namespace gpupool
