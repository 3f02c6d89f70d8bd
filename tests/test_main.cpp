// The main() that every Catch2 test program shares, compiled once.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
