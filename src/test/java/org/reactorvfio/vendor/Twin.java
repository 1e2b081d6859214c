package org.reactorvfio.vendor;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Function;
import org.reactorvfio.emulation.EmulatedDevice;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.operations.DelegatingOperations;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.Regions;
import org.reactorvfio.operations.VfioOperations;
import org.reactorvfio.operations.VfioTransport;
import reactor.core.publisher.Mono;

/**
 * An emulated device with what a kernel adds to devices of a kind: device-specific regions, registers of config space, capabilities
 * of the device's info, features.
 */
public final class Twin implements VfioTransport {
  private final EmulatedDevice device;
  private final List<AddedRegion> regions = new ArrayList<>();
  private final Map<Integer, Byte> config = new TreeMap<>();
  private final List<Capability> capabilities = new ArrayList<>();
  private Function<FeatureRequest, Mono<ByteBuffer>> features = request -> Mono.empty();

  public Twin(EmulatedDevice device) {
    this.device = device;
  }

  public EmulatedDevice device() {
    return device;
  }

  public Twin region(AddedRegion region) {
    regions.add(region);
    return this;
  }

  /** Shows bytes of config space that the emulated device does not have. */
  public Twin config(int offset, int... bytes) {
    for (int i = 0; i < bytes.length; i++) {
      config.put(offset + i, (byte) bytes[i]);
    }
    return this;
  }

  public Twin config32(int offset, int value) {
    return config(offset, value, value >> 8, value >> 16, value >> 24);
  }

  public Twin capability(int id, int version, byte[] content) {
    capabilities.add(new Capability(id, version, content));
    return this;
  }

  /** Answers features, where the answer is not empty, in the device's place. */
  public Twin features(Function<FeatureRequest, Mono<ByteBuffer>> answer) {
    features = answer;
    return this;
  }

  /** In the machine's byte order, as the kernel fills structures. */
  public static ByteBuffer structure(int size) {
    return ByteBuffer.allocate(size).order(ByteOrder.nativeOrder());
  }

  @Override
  public Mono<VfioOperations> open() {
    return device.open().map(core -> AddedRegions.over(new Added(core), regions));
  }

  private final class Added extends DelegatingOperations {
    Added(VfioOperations core) {
      super(core);
    }

    @Override
    public Mono<DeviceInfo> deviceInfo() {
      return super.deviceInfo().map(info -> {
        List<Capability> all = new ArrayList<>(info.capabilities());
        all.addAll(capabilities);
        return new DeviceInfo(info.flags(), info.regionCount(), info.irqCount(), all);
      });
    }

    @Override
    public Mono<Integer> read(int region, long offset, ByteBuffer destination) {
      int start = destination.position();
      return super.read(region, offset, destination).doOnNext(count -> {
        for (int i = 0; region == Regions.CONFIG && i < count; i++) {
          Byte shown = config.get((int) offset + i);
          if (shown != null) {
            destination.put(start + i, shown);
          }
        }
      });
    }

    @Override
    public Mono<ByteBuffer> feature(FeatureRequest request) {
      // The core is asked whether the device is still there.
      return super.deviceInfo()
          .flatMap(info -> features.apply(request))
          .switchIfEmpty(super.feature(request));
    }
  }

  @Override
  public String toString() {
    return device.toString();
  }
}
