#include "tests/system/kill_ledger.h"

#include "actors/ledger/journal_sqlite.h"

namespace gpupool::test {

TEST_CASE(
    "Every acknowledged hold and receipt is in the ledger's file once, however it is killed") {
  kill_under_load({.settings = "",
                   .name = [](const PoolProcess& pool) { return pool.ledger().string(); },
                   .open = [](const PoolProcess& pool) -> std::unique_ptr<Journal> {
                     auto journal = JournalSqlite::open(pool.ledger());
                     INFO((journal ? std::string() : journal.error().detail));
                     REQUIRE(journal);
                     return std::move(*journal);
                   }});
}

}  // namespace gpupool::test
