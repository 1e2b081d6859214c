package org.reactorvfio.vendor;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Objects;
import org.junit.jupiter.api.Test;
import org.reactorvfio.VfioException;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.fuzz.Fuzz;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.Features;
import org.reactorvfio.operations.RegionInfo;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.vendor.nvlink2.NvLink2;
import org.reactorvfio.vendor.nvlink2.NvLink2Operator;
import org.reactorvfio.vendor.zdev.Zdev;
import org.reactorvfio.vendor.zdev.ZdevOperator;
import org.reactorvfio.vendor.zdev.ZpciFunction;
import org.reactorvfio.vendor.zdev.ZpciGroup;
import reactor.core.publisher.Mono;

/** What the kernel tells operators of devices, in capabilities and features, as no kernel should tell it. */
class CapabilityFuzzTest {
  private static final int ENOMSG = 42;

  /** A capability's id, version and content follow each other, each in so many bytes. */
  private static final int SLOT = 48;

  private static void zpci(ByteBuffer image, int slot, int id, int version, byte[] content) {
    image.put(slot * SLOT, (byte) id).put(slot * SLOT + 1, (byte) version);
    image.put(slot * SLOT + 2, (byte) content.length).put(slot * SLOT + 3, content);
  }

  private static Capability capability(byte[] image, int slot) {
    byte[] part = Arrays.copyOfRange(image, slot * SLOT, (slot + 1) * SLOT);
    int length = Math.min(Byte.toUnsignedInt(part[2]), SLOT - 3);
    return new Capability(
        Byte.toUnsignedInt(part[0]),
        Byte.toUnsignedInt(part[1]),
        Arrays.copyOfRange(part, 3, 3 + length));
  }

  @Test
  void anyFunctionOfAnS390IsDescribedOrRefused() {
    ByteBuffer image = ByteBuffer.allocate(5 * SLOT);
    zpci(image, 0, 1, 3, Twin.structure(32).putLong(8, -1).putInt(28, 32).array());
    zpci(
        image,
        1,
        2,
        2,
        Twin.structure(40).putLong(0, -1).putShort(26, (short) 9).array());
    zpci(image, 2, 3, 1, Twin.structure(8).putInt(0, 4).array());
    zpci(image, 3, 4, 1, Twin.structure(8).putInt(0, 4).array());
    image.put(4 * SLOT, (byte) 32);
    Fuzz.of("zdev")
        .image(image.array())
        .rounds(200)
        .guidedBy(ZdevOperator.class, ZpciFunction.class, ZpciGroup.class)
        .run(bytes -> {
          byte[] all = Arrays.copyOf(bytes, 5 * SLOT);
          Twin twin =
              new Twin(EmulatedDevice.builder(0x15b3, 0x101e).pciExpress().build());
          for (int i = 0; i < 4; i++) {
            Capability told = capability(all, i);
            byte[] content = new byte[told.content().remaining()];
            told.content().get(content);
            twin.capability(told.id(), told.version(), content);
          }
          int errors = all[4 * SLOT + 1] & 3;
          int[] taken = new int[1];
          twin.features(request ->
              request.feature() == Features.ZPCI_ERROR && request.kind() == FeatureRequest.Kind.GET
                  ? error(all, errors - taken[0]++)
                  : Mono.empty());
          VfioOperations core = Objects.requireNonNull(twin.open().block());
          try {
            Zdev zdev = new ZdevOperator()
                .probe(core, new DeviceIdentity(0x15b3, 0x101e, 0, 0, 0x02_0000))
                .block();
            if (zdev == null) {
              return;
            }
            Fuzz.look(zdev.function(), zdev.group(), zdev.utilityString(), zdev.functionPath());
            if (zdev.function().errorLength().isPresent()) {
              Fuzz.look(zdev.errors().collectList().block());
            }
          } finally {
            core.close().block();
          }
        });
  }

  private static Mono<ByteBuffer> error(byte[] image, int left) {
    int length = Byte.toUnsignedInt(image[4 * SLOT]);
    return left > 0
        ? Mono.just(
            ByteBuffer.wrap(Arrays.copyOfRange(image, 4 * SLOT, 4 * SLOT + Math.min(length, SLOT))))
        : Mono.error(new VfioException(
            "VFIO_DEVICE_FEATURE", "device", ENOMSG, "no message", "wait for one"));
  }

  /** A region has its type already. */
  private static Capability untyped(Capability told) {
    return told.id() == RegionInfo.CAP_TYPE ? new Capability(9, 1, new byte[8]) : told;
  }

  @Test
  void anyRegionOfNvLinkIsDescribedOrRefused() {
    ByteBuffer image = ByteBuffer.allocate(2 * SLOT);
    zpci(image, 0, 4, 1, Twin.structure(8).putLong(0, 0x2000_0000_0000L).array());
    zpci(image, 1, 5, 1, Twin.structure(8).putInt(0, 9).array());
    RegionInfo.Type memory = new RegionInfo.Type(0x8000_10de, 1);
    Fuzz.of("nvlink2")
        .image(image.array())
        .rounds(150)
        .guidedBy(NvLink2Operator.class)
        .run(bytes -> {
          byte[] all = Arrays.copyOf(bytes, 2 * SLOT);
          Twin twin =
              new Twin(EmulatedDevice.builder(0x10de, 0x1db1).pciExpress().build());
          twin.region(AddedRegion.memory(memory, ByteBuffer.allocateDirect(4096))
              .withCapability(untyped(capability(all, 0)))
              .withCapability(untyped(capability(all, 1))));
          VfioOperations core = Objects.requireNonNull(twin.open().block());
          try {
            NvLink2 state = new NvLink2Operator()
                .probe(core, new DeviceIdentity(0x10de, 0x1db1, 0, 0, 0x03_0200))
                .block();
            Fuzz.look(state, Objects.requireNonNull(state).target(), state.linkSpeed());
          } finally {
            core.close().block();
          }
        });
  }
}
