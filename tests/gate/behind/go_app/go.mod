// SPDX-License-Identifier: Apache-2.0

module watchword.dev/tests/gate/behind/go_app

go 1.26.0
