package org.reactorvfio.operations;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;
import static org.assertj.core.api.Assertions.assertThatIllegalStateException;

import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.reactorvfio.operations.DmaInfo.IovaRange;

class AddressSpaceTest {
  private static final class Counter implements AddressSpace.Part {
    final AtomicInteger ends = new AtomicInteger();

    @Override
    public void vacated() {
      ends.incrementAndGet();
    }
  }

  @Test
  void hasNothingSpecialUnlessAskedFor() {
    AddressSpace space = AddressSpace.create();
    assertThat(space.allowedRanges()).isEmpty();
    assertThat(space.hugePages()).isTrue();
    assertThat(space.processAccounting()).isFalse();
    assertThat(space.origin()).isSameAs(space);
  }

  @Test
  void promisesRangesInTheirOrder() {
    AddressSpace space =
        AddressSpace.builder().allow(0x1000, 0x1fff).allow(-0x1000, -1).build();
    assertThat(space.allowedRanges())
        .containsExactly(new IovaRange(0x1000, 0x1fff), new IovaRange(-0x1000, -1));
    assertThat(AddressSpace.builder().allow(5, 5).build().allowedRanges())
        .containsExactly(new IovaRange(5, 5));
    assertThat(space).asString().contains("0x1000-0x1fff");
    assertThatIllegalArgumentException().isThrownBy(() -> AddressSpace.builder().allow(-1, 0));
  }

  @Test
  void thoseBesideEachOtherHaveOneOriginAndItsAccounting() {
    AddressSpace first = AddressSpace.builder().accountToProcess().build();
    AddressSpace second = AddressSpace.builder().beside(first).build();
    AddressSpace third = AddressSpace.builder().beside(second).hugePages(false).build();
    assertThat(third.origin()).isSameAs(first);
    assertThat(third.processAccounting()).isTrue();
    assertThat(third.hugePages()).isFalse();
    AddressSpace plain = AddressSpace.create();
    assertThat(AddressSpace.builder().accountToProcess().beside(plain).build().processAccounting())
        .isFalse();
  }

  @Test
  void keepsOnePartOfEachTypeAndTellsItOfTheEnd() {
    AddressSpace space = AddressSpace.create();
    Counter part = space.part(Counter.class, Counter::new);
    assertThat(space.part(Counter.class, Counter::new)).isSameAs(part);
    assertThat(AddressSpace.create().part(Counter.class, Counter::new)).isNotSameAs(part);
    space.vacated();
    space.vacated();
    assertThat(part.ends).hasValue(2);
  }

  @Test
  void rangesContainWhatIsInThemUnsigned() {
    IovaRange range = new IovaRange(0x1000, -1);
    assertThat(range.contains(new IovaRange(0x1000, 0x1fff))).isTrue();
    assertThat(range.contains(new IovaRange(-0x1000, -1))).isTrue();
    assertThat(range.contains(new IovaRange(0xfff, 0x1fff))).isFalse();
  }

  @Test
  void mappingsSayWhatTheyAreOf() {
    ByteBuffer memory = ByteBuffer.allocateDirect(64);
    DmaMapping mapping = DmaMapping.readOnly(memory, 0x1000);
    assertThat(mapping.file()).isEmpty();
    assertThat(mapping.peer()).isEmpty();
    DmaMapping file = mapping.withFile(7, 4096).at(0x2000);
    assertThat(file.file()).hasValue(7);
    assertThat(file.fileOffset()).isEqualTo(4096);
    assertThat(file.iova()).isEqualTo(0x2000);
    assertThat(file.deviceWrites()).isFalse();
    assertThat(file.size()).isEqualTo(64);
    assertThatIllegalArgumentException()
        .isThrownBy(() -> DmaMapping.readOnly(ByteBuffer.allocate(64), 0));
    assertThatIllegalArgumentException().isThrownBy(() -> mapping.withFile(-1, 0));
    assertThatIllegalArgumentException().isThrownBy(() -> mapping.withFile(3, -1));
    assertThat(peer().peer()).isPresent();
    assertThat(peer()).asString().contains("reads and writes", "a BAR");
    assertThatIllegalStateException().isThrownBy(() -> peer().memory());
    assertThatIllegalStateException().isThrownBy(() -> peer().withFile(3, 0));
    assertThat(peer().size()).isEqualTo(4096);
  }

  private static DmaMapping peer() {
    MappedRegion region = (MappedRegion) Proxy.newProxyInstance(
        AddressSpaceTest.class.getClassLoader(),
        new Class<?>[] {MappedRegion.class},
        (proxy, method, arguments) -> method.getName().equals("size") ? 4096L : "a BAR");
    return DmaMapping.peer(region, 0x1000);
  }

  @Test
  void iommusTellWhatTheyCan() {
    IommuInfo info = new IommuInfo(1, 0b1011, 20, new byte[] {1, 0, 0, 0});
    assertThat(info.kind()).isEqualTo(IommuInfo.Kind.INTEL_VTD);
    assertThat(info.dirtyTracking()).isTrue();
    assertThat(info.pasidExecute()).isTrue();
    assertThat(info.pasidPrivileged()).isFalse();
    assertThat(info.atsNotSupported()).isTrue();
    assertThat(info.pasidBits()).isEqualTo(20);
    assertThat(info.registers().getInt(0)).isEqualTo(1);
    assertThat(info).asString().contains("INTEL_VTD", "dirty tracking", "20 bits");
    for (int type : new int[] {0, 5, -1}) {
      assertThat(new IommuInfo(type, 0, 0, new byte[0]).kind()).isEqualTo(IommuInfo.Kind.OTHER);
    }
    assertThat(new IommuInfo(4, 0, 0, new byte[0]).kind()).isEqualTo(IommuInfo.Kind.AMD);
  }
}
