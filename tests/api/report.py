#!/usr/bin/python3
"""Sums up a pytest report in JUnit's form: "PASSED FAILED", then a line for each failed test.

    report.py FILE
"""

import sys
import xml.etree.ElementTree


def complaint(case):
    """The first line of what went wrong, or None."""
    wrong = [e for e in case if e.tag in ("failure", "error")]
    return wrong[0].get("message", "").partition("\n")[0][:200] if wrong else None


def main():
    suite = xml.etree.ElementTree.parse(sys.argv[1]).find(".//testsuite")
    total, failures, errors, skipped = (
        int(suite.get(n)) for n in ("tests", "failures", "errors", "skipped"))
    bad = failures + errors
    print(max(total - bad - skipped, 0), bad)
    for case in suite.iter("testcase"):
        text = complaint(case)
        if text is not None:
            print(f"  {case.get('classname')}::{case.get('name')}: {text}")


if __name__ == "__main__":
    main()
