package org.reactorvfio.samples.irqtop;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.net.URI;
import java.time.Duration;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.reactorvfio.PciAddress;
import org.reactorvfio.samples.irqtop.Arguments.Command;
import org.reactorvfio.samples.irqtop.Arguments.Option;

class ArgumentsTest {
  @Test
  void topIsWhatThereIsToDoByDefault() {
    assertThat(Arguments.parse().command()).isEqualTo(Command.TOP);
    assertThat(Arguments.parse("demo", "--once"))
        .satisfies(arguments -> assertThat(arguments.operands()).containsExactly("demo"))
        .satisfies(arguments -> assertThat(arguments.has(Option.ONCE)).isTrue());
    assertThat(Arguments.parse("--interval", "2", "top", "top").operands()).containsExactly("top");
    assertThat(Arguments.parse("--no-color").has(Option.NO_COLOUR)).isTrue();
    assertThat(Arguments.parse("--", "list").operands()).containsExactly("list");
  }

  @ParameterizedTest
  @CsvSource({"500ms, 500", "2, 2000", "2.5s, 2500", "10m, 600000", "1h, 3600000"})
  void timesHaveUnits(String text, long millis) {
    assertThat(Arguments.parse("--interval=" + text).duration(Option.INTERVAL))
        .contains(Duration.ofMillis(millis));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "--what",
        "--interval",
        "--interval 0",
        "--interval -1s",
        "--interval 1d",
        "--interval 99999999999h",
        "--count 0",
        "--count 99999999999999999999",
        "--once=yes",
        "--hex",
        "config",
        "config demo --hex --json",
        "config demo other",
        "watch demo msix",
        "list --count 1",
        "--cert file",
      })
  void whatIsWrongIsSaidBeforeAnythingIsDone(String line) {
    assertThatThrownBy(() -> Arguments.parse(line.split(" "))).isInstanceOf(UsageException.class);
  }

  @Test
  void devicesHaveNamesOfSeveralForms() {
    assertThat(Target.parse("demo")).isEqualTo(new Target.Demo());
    assertThat(Target.parse("0000:01:00.0"))
        .isEqualTo(new Target.Local(PciAddress.parse("0000:01:00.0")));
    assertThat(Target.parse("http://host:7000/0000:01:00.0"))
        .isEqualTo(new Target.Remote(URI.create("http://host:7000"), "0000:01:00.0"));
    assertThat(Target.parse("https://[::1]:7000/my%20nic"))
        .isEqualTo(new Target.Remote(URI.create("https://[::1]:7000"), "my nic"));
    assertThat(Target.parse("unix:///run/nic.sock#nic"))
        .isEqualTo(new Target.Remote(URI.create("unix:///run/nic.sock"), "nic"));
    assertThat(Target.parse(Target.text(URI.create("unix:///run/nic.sock"), "my/nic: a")))
        .isEqualTo(new Target.Remote(URI.create("unix:///run/nic.sock"), "my/nic: a"));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "nic",
        "http://host:7000",
        "http:///nic",
        "unix:///run/nic.sock",
        "ftp://h/nic",
        "a b"
      })
  void whatIsNoDeviceIsRefused(String text) {
    assertThatThrownBy(() -> Target.parse(text)).isInstanceOf(UsageException.class);
  }

  @Test
  void indicesHaveNamesAndNumbers() {
    assertThat(WatchCommand.index("MSI-X")).isEqualTo(2);
    assertThat(WatchCommand.index("msix")).isEqualTo(2);
    assertThat(WatchCommand.index("0")).isZero();
    assertThatThrownBy(() -> WatchCommand.index("5")).isInstanceOf(UsageException.class);
    assertThatThrownBy(() -> WatchCommand.vector("-1")).isInstanceOf(UsageException.class);
  }
}
