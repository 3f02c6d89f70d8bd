// What is typed for jobs of any app, and where their results and keys go.
#include "cli/jobs_command.h"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "actors/describe.h"
#include "cli/follow_job.h"
#include "cli/keys_command.h"
#include "cli/output_file.h"
#include "config/load.h"
#include "tests/folder.h"

using namespace gpupool;

namespace {

mode_t mode_of(const std::filesystem::path& path) {
  struct stat status {};
  REQUIRE(stat(path.c_str(), &status) == 0);
  return status.st_mode & 0777U;
}

}  // namespace

TEST_CASE("An app's argument is split at its first equals sign") {
  const auto argument = parse_argument("prompt=a = b");
  REQUIRE(argument);
  CHECK(argument->key == "prompt");
  CHECK(argument->value == "a = b");
  CHECK(parse_argument("empty=")->value.empty());
  CHECK(parse_argument("prompt").error().code == Errc::bad_request);
  CHECK(parse_argument("=x").error().detail.find("\"=x\"") != std::string::npos);
}

TEST_CASE("A job without a result is told with its outcome and where its story is") {
  Receipt receipt{.job = {12}, .outcome = Outcome::cancelled};
  CHECK(no_result_of(receipt).code == Errc::result_gone);
  CHECK(describe(no_result_of(receipt)) ==
        "there is no result: job 12 was cancelled; `gpupool explain 12` tells its story");
  receipt.outcome = Outcome::failed;
  CHECK(no_result_of(receipt).detail.starts_with("job 12 failed; "));
}

TEST_CASE("What went wrong with one of several jobs names it in JSON") {
  const Json json = json_of_failed({99}, {.code = Errc::job_unknown});
  CHECK(json["job"] == 99);
  CHECK(json["code"] == "job_unknown");
}

TEST_CASE("What the command line names and cannot be read is a mistake of usage, with its reason") {
  const Folder folder;
  const auto missing = (folder.path / "missing").string();
  CHECK(read_token(missing).error().detail ==
        "the token file " + missing + ": No such file or directory");
  CHECK(exit_code_of(read_token(missing).error().code) == ExitCode::usage);
  const auto file = folder.path / "token";
  REQUIRE(write_whole(file, " \n"));
  CHECK(read_token(file.string()).error().detail.ends_with("it holds no token"));
  REQUIRE(write_whole(file, std::string(5'000, 'a')));
  CHECK(read_token(file.string()).error().detail.find("more than 4096 bytes") != std::string::npos);
  REQUIRE(write_whole(file, ""));
  CHECK(read_server_key("@" + file.string()).error().detail.ends_with("it is empty"));
  CHECK(read_server_key("@" + missing).error().detail.ends_with("No such file or directory"));
  const Error short_key = read_server_key("xx").error();
  CHECK(describe(short_key) == "--server-key is 40 characters of Z85, or @FILE that holds them");
  CHECK(exit_code_of(short_key.code) == ExitCode::usage);
}

TEST_CASE("A result's name ends as its type says") {
  CHECK(extension_of("image/png") == ".png");
  CHECK(extension_of("text/plain; charset=utf-8") == ".txt");
  CHECK(extension_of("") == ".bin");
}

TEST_CASE("Times are read into the request, and a wrong one is named") {
  JobRequest body;
  REQUIRE(read_times({"7.5", "120"}, body));
  CHECK(body.declared == milliseconds(7'500));
  CHECK(body.max_wait == seconds(120));
  CHECK(read_times({"-1", ""}, body).error().code == Errc::bad_request);
  CHECK(read_times({"", "nan"}, body).error().code == Errc::bad_request);
}

TEST_CASE("A file that is not finished leaves nothing, and keeps what was there") {
  const Folder folder;
  const auto path = folder.path / "heart.png";
  REQUIRE(write_whole(path, "before"));
  {
    const auto file = OutputFile::open(path);
    REQUIRE(file);
    REQUIRE((*file)->write("half of it"));
    CHECK(content_of(path) == "before");
  }
  CHECK(content_of(path) == "before");
  CHECK(folder.files() == 1);
}

TEST_CASE("A file written in pieces appears whole") {
  const Folder folder;
  const auto path = folder.path / "heart.png";
  const auto file = OutputFile::open(path);
  REQUIRE(file);
  for (const char* piece : {"one ", "two ", "three"}) REQUIRE((*file)->write(piece));
  CHECK_FALSE(std::filesystem::exists(path));
  REQUIRE((*file)->finish());
  CHECK(content_of(path) == "one two three");
  CHECK(folder.files() == 1);
}

TEST_CASE("A secret's file is its owner's alone and is never written over") {
  const Folder folder;
  const auto path = folder.path / "k.secret";
  REQUIRE(write_secret(path, "first"));
  CHECK(mode_of(path) == 0600);
  CHECK(write_secret(path, "second").error().code == Errc::file_unwritable);
  CHECK(content_of(path) == "first");
}

TEST_CASE("The files of both kinds of keys load into a configuration as they are") {
  const Folder folder;
  const Connection quiet{.json = true};
  REQUIRE(make_token_key(quiet, {.algorithm = "EdDSA", .out = (folder.path / "e").string()}) ==
          ExitCode::done);
  REQUIRE(make_token_key(quiet, {.algorithm = "HS256", .out = (folder.path / "h").string()}) ==
          ExitCode::done);
  REQUIRE(make_curve_key(quiet, (folder.path / "pool").string()) == ExitCode::done);
  CHECK(folder.files() == 5);
  for (const char* name : {"e.secret", "h.secret", "pool.secret"})
    CHECK(mode_of(folder.path / name) == 0600);
  const auto config = parse_config(
      "[pool]\nroles = [\"broker\"]\n"
      "[broker]\nworker_address = \"127.0.0.1:0\"\ncurve_secret_file = \"pool.secret\"\n"
      "[[identity.keys]]\nkid = \"e\"\nalgorithm = \"EdDSA\"\n"
      "public_key_file = \"e.public\"\nsecret_file = \"e.secret\"\n"
      "[[identity.keys]]\nkid = \"h\"\nsecret_file = \"h.secret\"\n",
      folder.path / "gpupool.toml");
  REQUIRE(config);
  CHECK(config->broker.curve_secret.size() == 40);
  CHECK(config->identity.keys.at(0).secret.size() == 32);
  CHECK(config->identity.keys.at(0).public_key.size() == 32);
  CHECK(config->identity.keys.at(1).secret.size() == 64);
  CHECK(make_curve_key(quiet, (folder.path / "pool").string()) == ExitCode::usage);
}
