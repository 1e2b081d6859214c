package org.reactorvfio.vendor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import org.junit.jupiter.api.Test;

class DeviceMatchTest {
  private static final DeviceMatch ANY = DeviceMatch.any();
  private final DeviceIdentity device =
      new DeviceIdentity(0x1234, 0x5678, 0xaaaa, 0xbbbb, 0x030012);

  @Test
  void everythingThatWasNamedMustAgree() {
    assertThat(ANY.matches(device)).isTrue();
    assertThat(ANY.matches(DeviceIdentity.NONE)).isTrue();
    assertThat(ANY.vendor(0x1234).matches(device)).isTrue();
    assertThat(ANY.vendor(0x1235).matches(device)).isFalse();
    assertThat(ANY.device(0x1234, 0x5678).matches(device)).isTrue();
    assertThat(ANY.device(0x1234, 0x5679).matches(device)).isFalse();
    assertThat(ANY.device(0x1235, 0x5678).matches(device)).isFalse();
    assertThat(ANY.subsystem(0xaaaa, 0xbbbb).matches(device)).isTrue();
    assertThat(ANY.subsystem(0xaaaa, 0xbbbc).matches(device)).isFalse();
    assertThat(ANY.subsystem(0xaaab, 0xbbbb).matches(device)).isFalse();
    assertThat(ANY.classCode(0x030099, 0xffff00).matches(device)).isTrue();
    assertThat(ANY.classCode(0x030099, 0xffffff).matches(device)).isFalse();
    assertThat(ANY.vendor(0x1234).classCode(0x020000, 0xff0000).matches(device)).isFalse();
    assertThat(ANY.vendor(0x1234).matches(DeviceIdentity.NONE)).isFalse();
  }

  @Test
  void theMoreIsNamedTheMoreSpecificItIs() {
    assertThat(ANY.specificity()).isZero();
    assertThat(ANY.vendor(1).specificity()).isEqualTo(1);
    assertThat(ANY.device(1, 2).specificity()).isEqualTo(2);
    assertThat(ANY.device(1, 2).subsystem(3, 4).specificity()).isEqualTo(4);
    assertThat(ANY.vendor(1).classCode(0x030000, 0xff0000).specificity()).isEqualTo(2);
    assertThat(ANY.classCode(0x030000, 0xffff00).specificity()).isEqualTo(2);
    assertThat(ANY.device(1, 2).subsystem(3, 4).classCode(0, 0xffffff).specificity())
        .isEqualTo(7);
  }

  @Test
  void idsHave16BitsAndClasses24() {
    assertThatIllegalArgumentException().isThrownBy(() -> ANY.vendor(-1));
    assertThatIllegalArgumentException().isThrownBy(() -> ANY.device(1, 0x10000));
    assertThatIllegalArgumentException().isThrownBy(() -> ANY.subsystem(0x10000, 1));
    assertThatIllegalArgumentException().isThrownBy(() -> ANY.classCode(0x1000000, 0));
    assertThatIllegalArgumentException().isThrownBy(() -> ANY.classCode(0, -1));
  }

  @Test
  void itReadsLikeAnAlias() {
    assertThat(ANY.device(0x1234, 0x5678).classCode(0x030000, 0xff0000))
        .hasToString("DeviceMatch[1234:5678, subsystem *:*, class 030000/ff0000]");
  }
}
