// The entry point of every native test program; each *_test.cc becomes its own.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
