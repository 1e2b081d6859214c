package org.reactorvfio.bridge;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import org.reactorvfio.operations.Capability;
import org.reactorvfio.operations.DeviceInfo;
import org.reactorvfio.operations.FeatureRequest;
import org.reactorvfio.operations.HotResetInfo;
import org.reactorvfio.operations.IrqInfo;
import org.reactorvfio.operations.RegionInfo;

/** Arguments and results of the operations that cross the wire, as bytes. Holds no state. */
final class Bodies {
  private static final int MOST_CAPABILITIES = 256;
  private static final int MOST_FUNCTIONS = 4096;

  private Bodies() {}

  static byte[] copy(ByteBuffer source) {
    byte[] bytes = new byte[source.remaining()];
    source.get(source.position(), bytes);
    return bytes;
  }

  // ---- one number

  static Body number(int value) {
    return Body.of(new WireWriter().i32(value));
  }

  static int number(Body body) {
    WireReader in = body.reader();
    int value = in.i32("a number");
    in.end();
    return value;
  }

  // ---- properties

  private static void capabilities(WireWriter out, List<Capability> capabilities) {
    out.u16(capabilities.size());
    for (Capability capability : capabilities) {
      byte[] content = copy(capability.content());
      out.i32(capability.id()).i32(capability.version()).i32(content.length).bytes(content);
    }
  }

  private static List<Capability> capabilities(WireReader in) {
    int count = in.u16("the number of capabilities");
    if (count > MOST_CAPABILITIES) {
      throw new MalformedFrameException(count + " capabilities are too many");
    }
    List<Capability> capabilities = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      int id = in.i32("a capability's id");
      int version = in.i32("a capability's version");
      capabilities.add(
          new Capability(id, version, in.bytes(in.i32("a capability's length"), "a capability")));
    }
    return capabilities;
  }

  static Body deviceInfo(DeviceInfo info) {
    WireWriter out =
        new WireWriter().i32(info.flags()).i32(info.regionCount()).i32(info.irqCount());
    capabilities(out, info.capabilities());
    return Body.of(out);
  }

  static DeviceInfo deviceInfo(Body body) {
    WireReader in = body.reader();
    DeviceInfo info = new DeviceInfo(
        in.i32("flags"),
        in.natural("the number of regions"),
        in.natural("the number of interrupt indices"),
        capabilities(in));
    in.end();
    return info;
  }

  /** A region as it is from afar: memory is not shared over a socket, so that nothing of it can be mapped. */
  static Body regionInfo(RegionInfo info) {
    WireWriter out = new WireWriter()
        .i32(info.index())
        .i32(info.flags() & ~RegionInfo.FLAG_MMAP)
        .i64(info.size());
    capabilities(
        out,
        info.capabilities().stream()
            .filter(
                c -> c.id() != RegionInfo.CAP_SPARSE_MMAP && c.id() != RegionInfo.CAP_MSIX_MAPPABLE)
            .toList());
    return Body.of(out);
  }

  static RegionInfo regionInfo(Body body) {
    WireReader in = body.reader();
    RegionInfo info = new RegionInfo(
        in.natural("a region"), in.i32("flags"), in.i64("a size"), 0, capabilities(in));
    in.end();
    return info;
  }

  static Body irqInfo(IrqInfo info) {
    return Body.of(new WireWriter().i32(info.index()).i32(info.flags()).i32(info.count()));
  }

  static IrqInfo irqInfo(Body body) {
    WireReader in = body.reader();
    IrqInfo info =
        new IrqInfo(in.natural("an index"), in.i32("flags"), in.natural("a number of vectors"));
    in.end();
    return info;
  }

  static Body hotResetInfo(HotResetInfo info) {
    WireWriter out = new WireWriter().u16(info.affected().size());
    for (HotResetInfo.Affected function : info.affected()) {
      out.text(function.name()).i32(function.group()).flag(function.owned());
    }
    return Body.of(out);
  }

  static HotResetInfo hotResetInfo(Body body) {
    WireReader in = body.reader();
    int count = in.u16("the number of functions");
    if (count > MOST_FUNCTIONS) {
      throw new MalformedFrameException(count + " functions are too many");
    }
    List<HotResetInfo.Affected> affected = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      affected.add(new HotResetInfo.Affected(
          in.text("a function"), in.i32("a group"), in.flag("whether it is owned")));
    }
    in.end();
    return new HotResetInfo(affected);
  }

  // ---- reading and writing

  /** Where something is to be read, and how much. */
  record Range(int region, long offset, int length) {
    Body toBody() {
      return Body.of(new WireWriter().i32(region).i64(offset).i32(length));
    }

    static Range read(Body body, int most) {
      WireReader in = body.reader();
      Range range = new Range(
          in.natural("a region"), in.i64("an offset"), in.below(most + 1, "the number of bytes"));
      in.end();
      return range;
    }
  }

  /** Where something is to be written, and what. */
  record Write(int region, long offset, ByteBuffer data) {
    Body toBody() {
      return Body.of(new WireWriter().i32(region).i64(offset).bytes(copy(data)));
    }

    static Write read(Body body) {
      WireReader in = body.reader();
      return new Write(in.natural("a region"), in.i64("an offset"), ByteBuffer.wrap(in.rest()));
    }
  }

  // ---- features

  static Body feature(FeatureRequest request) {
    return Body.of(new WireWriter()
        .u16(request.feature())
        .choice(FeatureRequest.Kind.values(), request.kind())
        .flag(request.probesGet())
        .flag(request.probesSet())
        .bytes(copy(request.data())));
  }

  static FeatureRequest feature(Body body) {
    WireReader in = body.reader();
    int feature = in.u16("a feature");
    FeatureRequest.Kind kind = in.choice(FeatureRequest.Kind.values(), "what to do with a feature");
    boolean get = in.flag("whether reading is probed");
    boolean set = in.flag("whether changing is probed");
    byte[] data = in.rest();
    if (data.length > 0xffff) {
      throw new MalformedFrameException("a feature has at most 65535 bytes");
    }
    return switch (kind) {
      case GET -> FeatureRequest.get(feature, ByteBuffer.wrap(data));
      case SET -> FeatureRequest.set(feature, ByteBuffer.wrap(data));
      case PROBE -> FeatureRequest.probe(feature, get, set);
    };
  }
}
