#pragma once
// LearnedDurations: how long runs really took, app by app and account by account: the last ones of
// each. From them come likely starts, advice, and what a job with duration = "auto" holds at first;
// never a promise. The mean of an account's last two runs of an app foretells the next one better
// than what it declares (Tsafrir, Etsion and Feitelson, TPDS 2007). The ledger owns it, as part of
// its state, and hands it to each broker that takes the lead, which goes on with what it sees
// settled. Bounded: what was used longest ago is forgotten. Plain value.

#include <array>
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "actors/messages.h"
#include "base/recent_values.h"

namespace gpupool {

struct LearnedBounds {
  std::size_t apps_max = 256;
  std::size_t pairs_max = 10'000;  // of an account and an app
};

class LearnedDurations {
 public:
  static constexpr std::size_t app_runs_max = 200;
  static constexpr std::size_t own_runs_max = 20;

  explicit LearnedDurations(LearnedBounds bounds = {}) : bounds_(bounds) {}

  // A run that succeeded. One of no time at all teaches nothing.
  void note(const AccountId& account, const std::string& app, Duration ran);

  // What the next run will likely take; and at most, nine times in ten. none: nothing is known.
  std::optional<Duration> likely(const AccountId& account, const std::string& app) const;
  std::optional<Duration> long_run(const std::string& app) const;

  // How long a run takes that declared so much, by what such runs took; `unknown` where nothing is
  // known. One that is on for longer than that counts as a long one, and then as all it declared.
  struct Run {
    Duration declared{};
    Duration unknown{};
    Duration elapsed{};
  };
  enum class Runs : std::uint8_t { likely = 1, long_ones };
  Duration foreseen(const AccountId& account, const std::string& app, const Run& run,
                    Runs runs) const;

  // What duration = "auto" holds at first: what 99 of 100 runs took and a margin, in which the
  // first extension has time to be written; `unknown` before there are enough of them.
  Duration first_held(const std::string& app, Duration unknown) const;
  // What is held instead by an account that cannot pay for that: by what nine of ten runs took, and
  // by what its own next one will likely take. Empty: too little is known.
  std::vector<Duration> shorter_holds(const AccountId& account, const std::string& app) const;

  // Of this account's runs or, if those are few, of all; without a price: `fits` is the caller's.
  // An app with an empty name: the one that the account used last. Its `app` is empty if nothing
  // is known.
  Advice advice(const AccountId& account, const std::string& app) const;

  std::vector<LearnedRuns> rows() const;  // what was used last comes last
  void restore(const LearnedRuns& row);

 private:
  struct AppRuns {
    std::string app;
    RecentValues runs{app_runs_max};  // milliseconds
    bool is(std::string_view, std::string_view name) const { return app == name; }
    std::size_t hash() const { return hash_of({}, app); }
  };
  struct OwnRuns {
    std::string account;
    std::string app;
    // A ring; of so many accounts that it is no RecentValues, whose order nobody asks for here.
    std::array<std::uint32_t, own_runs_max> runs{};
    std::uint32_t count = 0;  // all that there were
    bool is(std::string_view who, std::string_view name) const {
      return app == name && account == who;
    }
    std::size_t hash() const { return hash_of(account, app); }
  };
  // By when they were used, the last one last; found by their names, without a copy of them.
  template <class Row>
  class Table {
   public:
    Table() = default;
    Table(const Table& other) : rows_(other.rows_) {
      for (auto row = rows_.begin(); row != rows_.end(); ++row) found_.emplace(row->hash(), row);
    }
    Table(Table&& other) = default;
    Table& operator=(Table other) {
      rows_.swap(other.rows_);
      found_.swap(other.found_);
      return *this;
    }
    ~Table() = default;
    // Moved to the end; nullptr: it is not there.
    Row* use(std::string_view account, std::string_view app);
    // At the end; the first one goes if there are too many.
    Row& add(Row row, std::size_t most);
    const Row* find(std::string_view account, std::string_view app) const;
    const std::list<Row>& rows() const { return rows_; }

   private:
    using Rows = std::list<Row>;
    Rows rows_;
    std::unordered_multimap<std::size_t, typename Rows::iterator> found_;
  };

  static std::size_t hash_of(std::string_view account, std::string_view app) {
    const std::hash<std::string_view> hash;
    return hash(account) * 31 + hash(app);
  }
  void note_app(const std::string& app, std::uint32_t ran);
  void note_own(const std::string& account, const std::string& app, std::uint32_t ran);
  const OwnRuns* last_of(const AccountId& account) const;

  LearnedBounds bounds_;
  Table<AppRuns> apps_;
  Table<OwnRuns> own_;
};

}  // namespace gpupool
