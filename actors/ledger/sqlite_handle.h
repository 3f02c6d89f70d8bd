#pragma once
// What the ledger's SQLite files share: owners of a connection and of its statements, the bytes of
// a column, and making a new file's name durable. A connection outlives its statements.

#include <memory>
#include <string>

struct sqlite3;
struct sqlite3_stmt;

namespace gpupool {

struct CloseSqlite {
  void operator()(sqlite3* database) const;
  void operator()(sqlite3_stmt* statement) const;
};
using SqliteDatabase = std::unique_ptr<sqlite3, CloseSqlite>;
using SqliteStatement = std::unique_ptr<sqlite3_stmt, CloseSqlite>;

// Of the row that the statement stands at; empty for NULL.
std::string column_bytes(sqlite3_stmt* row, int column);

// A new file's name is durable only once its folder is.
void sync_folder_of(const std::string& path);

}  // namespace gpupool
